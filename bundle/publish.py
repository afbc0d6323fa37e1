"""Publish: a folder is built out of sight beside its place, and gets its name in one step."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bundle.errors import BundleError, RequestError
from bundle.exchange import exchange
from bundle.held import held_folder, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_STAGED = ".tmp"


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A new hidden folder beside the target; what is left of it is removed in the end.

    Raises BundleError if the disk fails, here or in the block.
    """

    def make() -> Path:
        folder = target.parent / f"{_hidden(target)}{os.urandom(8).hex()}{_STAGED}"
        folder.mkdir()
        return folder

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with held_folder(make) as folder:
            yield folder
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}") from error


def sweep_staging(target: Path) -> None:
    """Remove what killed processes left where they were staging this target."""
    _sweep_beginning(re.escape(_hidden(target)), target.parent)


def sweep_folders(folders: Iterable[Path]) -> None:
    """Remove what killed processes left in these folders, whatever they were staging there."""
    for folder in folders:
        _sweep_beginning(r"\..+\.", folder)


def _sweep_beginning(pattern: str, folder: Path) -> None:
    staged = re.compile(f"{pattern}[0-9a-f]{{16}}{re.escape(_STAGED)}")
    with suppress(OSError):  # no folder, or one that cannot be read
        sweep(path for path in folder.iterdir() if staged.fullmatch(path.name))


def _hidden(target: Path) -> str:
    """How the name of its staging folder begins."""
    return f".{target.name[:100]}."


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
