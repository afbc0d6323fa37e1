"""Cache: where what was fetched is kept, and what is said when it cannot be kept there."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundle.errors import BundleError, TrainyardError, reworded
from bundle.publish import staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CACHE_VARIABLE = "TRAINYARD_CACHE"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_WRITING = (*_FULL, errno.EROFS)
"""Errors that reading never has: whatever was fetched from, it is the cache that fails."""
_NUMBER = re.compile(r"\[Errno (\d+)\]")


@contextmanager
def caching(target: Path) -> Iterator[Path]:
    """`staging` for a folder of the cache.

    Raises BundleError that names the cache where its disk fails, also where a library tells so in
    an error of its own. What is raised of the hidden folder's content tells it of the target.
    """
    hidden = None
    try:
        with staging(target) as folder:
            hidden = folder.name
            yield folder
    except Exception as error:
        number = _number(error)
        if number in _OF_WRITING or (hidden is None and number is not None):
            raise _unwritable(target.parent, number) from error
        if hidden is not None and isinstance(error, TrainyardError):
            raise reworded(error, hidden, target.name) from error
        raise


@contextmanager
def told_of(source: str, folder: Path | str) -> Iterator[None]:
    """What is wrong with the folder is told of where it was fetched from: it will not stay."""
    try:
        yield
    except TrainyardError as error:
        raise reworded(error, os.path.realpath(folder), source) from error


def _number(error: Exception) -> int | None:
    """The system's number for what went wrong, if it was the system that failed."""
    cause = error.__cause__ if isinstance(error, TrainyardError) else error
    if isinstance(cause, OSError):
        return cause.errno
    found = _NUMBER.search(str(error))
    return None if found is None else int(found[1])


def _unwritable(folder: Path, number: int) -> BundleError:
    full = number in _FULL
    return BundleError(
        f"the cache {folder} {'is full' if full else f'cannot be written: {os.strerror(number)}'}",
        field=CACHE_VARIABLE,
        remedy=f"{'make room there' if full else 'let this user write there'}, "
        f"or set {CACHE_VARIABLE} to another folder",
    )
