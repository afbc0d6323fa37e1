"""Folders that an export will write to, tried before the work that would be lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bundle.errors import RequestError

REPORT = ".report"
"""What a report's folder has behind the name of the bundle that it lies beside."""


def check_writable(
    folder: Path, *, field: str, value: object, remedy: str = "choose another folder"
) -> None:
    """Raise RequestError unless the folder takes files, or can be made. Nothing is left behind.

    `value`: what the field says, of which the folder follows. Permissions alone do not tell: the
    superuser has them all, and a disk may be read-only.
    """
    nearest = whole = Path(os.path.realpath(folder))
    try:
        nearest = next(each for each in (whole, *whole.parents) if _exists(each))
        with tempfile.TemporaryDirectory(prefix=".trainyard-", dir=nearest):
            pass
    except OSError as error:
        raise RequestError(
            f"{field}={value}: nothing can be written in {nearest}: {error.strerror or error}",
            field=field,
            remedy=remedy,
        ) from error


def _exists(path: Path) -> bool:
    """Raises OSError for a name that no file can have."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
