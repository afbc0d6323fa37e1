"""ContentCache: results of finished work on disk, each under the hash of all that it depends on.

An entry is one file: a line of JSON that describes the content, with its sha256 and size, and the
content. It gets its name in one step when it is complete, so a kill leaves nothing half-written
that counts; it is verified whenever it is read. Two exports that share the folder at worst do the
same work twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.atomic_file import UNFINISHED, staged
from bundle.fields import canonical_json
from optimize.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FORMAT = 1
"""Part of every key: raised when the layout of entries changes."""
SUFFIX = ".entry"
_ABANDONED_SECONDS = 24 * 3600.0


def fingerprint(value: object) -> str:
    """sha256 of a JSON value, the same for equal values."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a key stands for."""

    content: bytes
    facts: Mapping[str, Any]
    """What was noted beside the content, as JSON."""
    found: bool
    """Whether it was there already, and not made now."""


class ContentCache:
    """Folder None keeps nothing: everything is made anew."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get_or_make(
        self,
        key: Mapping[str, Any],
        make: Callable[[], tuple[bytes, Mapping[str, Any]]],
        *,
        anew: bool = False,
        worth_keeping: Callable[[bytes], bool] = lambda _: True,
    ) -> Entry:
        """The entry of `key`, made if it is not there or damaged.

        `key` holds everything that the result depends on, as JSON. `anew`: what is there is
        replaced. `worth_keeping`: whether content that was made is kept. Raises what `make` raises,
        and MachineError if the folder cannot be written.
        """
        name = fingerprint({"format": FORMAT, **key})
        found = None if anew else self._read(name)
        if found is not None:
            return found
        content, made = make()
        facts = json.loads(json.dumps(made))  # as they will be read back
        if worth_keeping(content):
            self._write(name, content, facts)
        return Entry(content=content, facts=facts, found=False)

    def beside(self, name: str) -> Path | None:
        """A file of a tool's own in the same folder, which is never shrunk; None keeps nothing."""
        return None if self._folder is None else self._folder / name

    def bytes_used(self) -> int:
        """Of all entries together."""
        return sum(status.st_size for _, status in self._entries())

    def shrink(self, most: float) -> None:
        """Remove what was used longest ago until at most `most` bytes are left, and what writers
        that were killed have left behind.
        """
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime, reverse=True)
        used = 0
        for path, status in entries:
            used += status.st_size
            if used > most:
                with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is only read
                    path.unlink()
        if self._folder is None:
            return
        for path in self._folder.glob(f"*/.*{UNFINISHED}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in [] if self._folder is None else self._folder.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another export's shrinking
                yield path, path.stat()

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / name[:2] / f"{name}{SUFFIX}"

    def _read(self, name: str) -> Entry | None:
        """None also for what is damaged, which is removed."""
        path = self._path(name)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                head = json.loads(file.readline())
                content = file.read()
            whole = head["name"] == name and head["sha256"] == _digest(head["facts"], content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is only read
            if whole:
                os.utime(path)  # for `shrink`
            else:
                path.unlink(missing_ok=True)
        return Entry(content=content, facts=head["facts"], found=True) if whole else None

    def _write(self, name: str, content: bytes, facts: Mapping[str, Any]) -> None:
        path = self._path(name)
        if path is None:
            return
        head = {"name": name, "sha256": _digest(facts, content), "facts": facts}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with staged(path) as temporary:
                with temporary.open("wb") as file:
                    file.write(json.dumps(head, sort_keys=True).encode() + b"\n")
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
        except OSError as error:
            raise MachineError(
                f"{path.parent} cannot be written: {error.strerror or error}",
                field="optimize.cache.folder",
                remedy="name a folder on another disk, or optimize.cache.folder=null",
            ) from error


def _digest(facts: object, content: bytes) -> str:
    return hashlib.sha256(canonical_json(facts).encode() + content).hexdigest()
