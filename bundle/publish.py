"""Publish: a folder is built out of sight beside its place, and gets its name in one step."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundle.errors import BundleError, RequestError
from bundle.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A new hidden folder beside the target; what is left of it is removed in the end.

    Raises BundleError if the disk fails, here or in the block.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = target.parent / f".{target.name[:100]}.{os.urandom(8).hex()}.tmp"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}") from error


def publish(folder: Path, target: Path, *, overwrite: bool = False) -> None:
    """Give a finished folder its name.

    Afterwards `folder` is gone, or is what was replaced. Raises RequestError if the name is taken.
    """
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        fsync_folder(path)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        if not overwrite:
            raise taken(target) from None
        exchange(folder, target)
    fsync_folder(target.parent)


def taken(target: Path) -> RequestError:
    return RequestError(
        f"{target} exists already",
        field="output",
        remedy="choose another folder, or ask for it to be overwritten",
    )


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
