"""What happened to a run besides its metrics: one JSON line each in its `events.jsonl`."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from bundle.atomic_file import named_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "events.jsonl"
ENDS = {"stopped": "stop", "failed": "failure"}
"""What the end of a run is called that did not finish."""


def record(folder: Path, kind: str, **fields: Any) -> None:
    """Append an event to the run folder, as one write, so that processes may share the file."""
    event = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **fields}
    line = json.dumps(event, ensure_ascii=False, default=str) + "\n"
    path = folder / FILE
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with named_errors(path):
            os.write(handle, line.encode(errors="backslashreplace"))
    finally:
        os.close(handle)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events, oldest first; the half line of a crash is left out, and whatever else is none."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "kind" in event:
            events.append(event)
    return events


class NewEvent(NamedTuple):
    """An event, its number in the file, and how many of its kind there are by now."""

    number: int
    kind: str
    so_far: int
    event: dict[str, Any]


class EventTail:
    """The events of a run as they come. Asking costs next to nothing while there are none."""

    def __init__(self, folder: Path, *, since: int, done: int) -> None:
        """`since`: how many are of runs before this one. `done`: how many are taken already."""
        self._folder = folder
        self._since = since
        self._done = max(since, done)
        self._size = 0

    def read(self) -> Iterator[NewEvent]:
        """Those since the last call."""
        try:
            size = (self._folder / FILE).stat().st_size
        except FileNotFoundError:
            return
        if size == self._size:
            return
        self._size = size
        counts: Counter[str] = Counter()
        for number, event in enumerate(read_events(self._folder), start=1):
            kind = str(event["kind"])
            counts[kind] += number > self._since
            if number > self._done:
                self._done = number
                yield NewEvent(number, kind, counts[kind], event)
