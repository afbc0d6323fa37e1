"""Journal: all that a run wants recorded, in order, in `tracking.jsonl` of its folder.

Every record is written here first, one JSON line each, and sent to the server from here, so that
neither an absent server nor a killed process loses one. Lines are only ever appended:

    {"time": ms, "kind": "run" | "params" | "metrics" | "tags" | "file" | "status", …}   records
    {"kind": "id", "run_id": …, "steps": {metric: last step that the server has}}         the run's
    {"kind": "back", "to": step}                               what came after it is recorded again
    {"kind": "sent", "to": byte}   {"kind": "refused", "at": byte, "reason": …}           progress
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "tracking.jsonl"
_PATTERN = "tracking*.jsonl"
_PROGRESS = ("id", "back", "sent", "refused")
_FIELDS: dict[str, dict[str, type]] = {
    "run": {
        "time": int,
        "key": str,
        "continues": bool,
        "experiment": str,
        "name": str,
        "tags": dict,
    },
    "params": {"time": int, "params": dict},
    "metrics": {"time": int, "metrics": dict, "step": int},
    "tags": {"time": int, "tags": dict},
    "file": {"time": int, "path": str, "folder": str},
    "status": {"time": int, "status": str},
}
"""What every record of a kind has."""
_READ = 1 << 20


class Entry(NamedTuple):
    """A record, and the byte of the file after its line."""

    end: int
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.fields["kind"])

    @property
    def is_whole(self) -> bool:
        """Whether a record has all that its kind has; a damaged one may still be JSON."""
        wanted = _FIELDS.get(self.kind)
        return wanted is not None and all(
            isinstance(self.fields.get(name), kind) for name, kind in wanted.items()
        )


class Journal:
    """One file; appended to by the run's thread and by the one that sends."""

    def __init__(self, path: Path) -> None:
        """Open a journal, or make an empty one: `begin` then says whose it is."""
        self.path = path
        self._lock = threading.Lock()
        self.header: dict[str, Any] = {}
        self.run_id: str | None = None
        """The run's id on the server; None while the server has not heard of it."""
        self.steps: dict[str, int] = {}
        """The last step that was recorded, by metric."""
        self.known: dict[str, int] = {}
        """The last step that the server had before this journal began, by metric."""
        self.events = 0
        """How many lines of events.jsonl have become records."""
        self.refused = 0
        self.has_ended = False
        """Whether the run came to an end of whatever kind, and did not go on."""
        self.is_new = False
        """Whether the run began with this object."""
        self._sent = 0
        self._end = 0
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._file).st_size
        self._is_cut = self._size > 0 and os.pread(self._file, 1, self._size - 1) != b"\n"
        for entry in self._lines(0):
            with suppress(AttributeError, KeyError, TypeError, ValueError):  # damaged
                self._take(entry)

    @property
    def key(self) -> str:
        """The run's own name for itself, which the server's run is tagged with."""
        return str(self.header["key"])

    def begin(self, *, key: str | None, **fields: Any) -> None:
        """Write the first line. `key`: of a run that the server may know from an earlier start."""
        self.is_new = True
        self.append("run", key=key or uuid.uuid4().hex, continues=key is not None, **fields)

    def append(self, kind: str, *, at: int | None = None, **fields: Any) -> None:
        """Keep a record. `at`: its time in ms since 1970, if that is not now."""
        self._keep({"time": at or int(time.time() * 1000), "kind": kind, **fields})

    def identify(self, run_id: str, steps: Mapping[str, int], *, anew: bool = False) -> None:
        """The server's run is this one; `anew`: it has none of what was sent before."""
        self._keep({"kind": "id", "run_id": run_id, "steps": dict(steps)})
        if anew and self._sent:
            self.mark_sent(0)

    def go_back(self, step: int) -> None:
        """The run goes on from an earlier step than its last, and elsewhere from there."""
        self._keep({"kind": "back", "to": step})

    def mark_sent(self, end: int) -> None:
        """The server has everything up to this byte."""
        self._keep({"kind": "sent", "to": end})

    def mark_refused(self, entry: Entry, reason: str) -> None:
        """The server will never take this record; the ones after it are sent all the same."""
        self._keep({"kind": "refused", "at": entry.end, "reason": reason})
        self.mark_sent(entry.end)

    @property
    def is_pending(self) -> bool:
        """Whether there is something to send."""
        return self._sent < self._end

    def pending(self, most: int | None = None) -> list[Entry]:
        """What is to be sent, oldest first; at most this many records."""
        found: list[Entry] = []
        if self.is_pending:
            for entry in self._lines(self._sent):
                if entry.kind not in _PROGRESS:
                    found.append(entry)
                if len(found) == most:
                    break
        return found

    def sync(self) -> None:
        """Have the disk keep what was written."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def discard(self) -> None:
        """Leave no trace of a run that never began."""
        if self.is_new:
            self.path.unlink()

    def _keep(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False) + "\n"
        with self._lock:
            if self._is_cut:  # by a crash: what follows begins a new line
                line, self._is_cut = "\n" + line, False
            self._write(line.encode(errors="backslashreplace"))
            self._take(Entry(self._size, fields))

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.write(self._file, line[written:])
        except OSError as error:
            raise TrackingError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._size += len(line)

    def _take(self, entry: Entry) -> None:
        kind, fields = entry.kind, entry.fields
        if kind == "sent":
            to = int(fields["to"])
            if 0 <= to <= entry.end:  # else a damaged line would hide what waits
                self._sent = to
        elif kind == "refused":
            self.refused += 1
        elif kind == "back":
            for last in (self.steps, self.known):
                last.update({name: min(step, int(fields["to"])) for name, step in last.items()})
        elif kind == "id":
            self.run_id, self.known = fields["run_id"], dict(fields["steps"])
        else:
            self._end = entry.end
            self.events = int(fields.get("events", self.events))
            if kind == "run" and entry.is_whole:
                self.header = fields
            elif kind == "status":
                self.has_ended = fields["status"] != "running"
            elif kind == "metrics":
                for name in fields["metrics"]:
                    self.steps[name] = max(self.steps.get(name, -1), int(fields["step"]))

    def _lines(self, start: int) -> Iterator[Entry]:
        """Whole lines from this byte on; what is no JSON was cut short by a crash."""
        rest, position = b"", start
        while block := os.pread(self._file, _READ, position + len(rest)):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                position += len(line) + 1
                try:
                    fields = json.loads(line)
                except ValueError:
                    continue
                if isinstance(fields, dict) and "kind" in fields:
                    yield Entry(position, fields)


def open_journal(folder: Path, *, run_id: str | None, **fields: Any) -> Journal:
    """The journal of this run: the one that lies in the folder if it is of `run_id`, else a new
    one, for which another's is set aside. `fields`: what a new run is to be called.
    """
    path = folder / FILE
    seen = 0
    if path.exists():
        found = Journal(path)
        if found.header and run_id is not None and run_id in {found.key, found.run_id}:
            return found
        seen = found.events
        found.close()
        _set_aside(path)
    journal = Journal(path)
    journal.begin(key=run_id, events=seen, **fields)
    return journal


def journals(folder: Path) -> list[Path]:
    """Of all runs that were recorded in this folder, oldest first."""
    return sorted(folder.glob(_PATTERN), key=lambda path: path.stat().st_mtime_ns)


def known_run_id(folder: Path, run_id: str) -> str:
    """The server's id of the run that called itself `run_id`; the same if it is not known here."""
    for path in journals(folder):
        try:
            journal = Journal(path)
        except OSError:  # a folder that may only be read was never a run's own
            continue
        journal.close()
        if journal.header and journal.key == run_id:
            return journal.run_id or run_id
    return run_id


def unended_run(folder: Path) -> tuple[str, ...]:
    """Names of the run that a killed process left open: the server's, if it has one, and its own.

    Empty if the last run that was recorded in this folder has ended, or none was.
    """
    path = folder / FILE
    if not path.exists():
        return ()
    journal = Journal(path)
    journal.close()
    if not journal.header or journal.has_ended:
        return ()
    return tuple(name for name in (journal.run_id, journal.key) if name is not None)


def _set_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
