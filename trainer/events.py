"""What happened to a run besides its metrics: one JSON line each in its `events.jsonl`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FILE = "events.jsonl"


def record(folder: Path, kind: str, **fields: Any) -> None:
    """Append an event to the run folder, as one write, so that processes may share the file."""
    event = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **fields}
    line = json.dumps(event, ensure_ascii=False, default=str) + "\n"
    handle = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events, oldest first; the half line of a crash is left out."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
