"""Held folders: locked while their process lives, so that others can tell what was left.

The lock is the kernel's (flock): kill -9 frees it, and no number of a process is mistaken.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def held_folder(make: Callable[[], Path]) -> Iterator[Path]:
    """The new folder that `make` makes; what is left under its name is removed in the end."""
    path, descriptor = _hold(make)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _hold(make: Callable[[], Path]) -> tuple[Path, int]:
    while True:
        path = make()
        with contextlib.suppress(FileNotFoundError):  # swept between the two: make another
            descriptor = _lock(path)
            if path.exists():
                return path, descriptor
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While this goes on, no other process has the folder locked."""
    descriptor = _lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """The descriptor that holds the lock until it is closed."""
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a disk without locks: nobody minds them there
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def sweep(folders: Iterable[Path]) -> None:
    """Remove those of this user that nobody holds."""
    for path in folders:
        with contextlib.suppress(OSError):  # held, a link, gone meanwhile, or of another user
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
