"""Files that get their name in one step, whole and on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bundle.publish import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


UNFINISHED = ".part"
"""How the hidden name of a file ends that has not got its own yet."""


class HashingStream:
    """A binary stream that knows the sha256 and the size of what was written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None
        """What the disk answered; a writer in another language may hide it."""

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: Any) -> int:
        try:
            written = self._stream.write(data)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(data)
        self.bytes += written
        return written

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A new hidden file in the folder of `path`, to be renamed; what is left of it is removed.

    It is in the same folder because a rename across filesystems is not atomic.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    os.fchmod(handle, 0o644)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one step. Raises OSError, which names it."""
    with staged(path) as temporary:
        # Names of files need not be Unicode; in JSON and YAML this is how one writes them.
        with (
            named_errors(path),
            temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small JSON file in one step."""
    write_text(path, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """As such files hold it."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """What the disk refuses within is an OSError of `path`: writing to a stream names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
