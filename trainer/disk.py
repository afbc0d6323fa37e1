"""The disk that a run writes to: may it, and is there room?"""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from trainer.errors import PreflightError

if TYPE_CHECKING:
    from torch import nn

    from trainer.parallel.group import Group


def check_folder(folder: Path) -> None:
    """Raises PreflightError if checkpoints could not be written to this run folder."""
    checkpoints = folder / "checkpoints"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=checkpoints):
            pass
    except OSError as error:
        raise PreflightError(
            f"hydra.run.dir={folder}: checkpoints cannot be written there, on"
            f" {filesystem(folder)} ({error.strerror})",
            field="hydra.run.dir",
            remedy="name a folder that you may write to: hydra.run.dir=FOLDER",
        ) from error


def check_shared(folder: Path, group: Group) -> None:
    """Raises PreflightError, in all processes, if not all nodes see the main one's run folder.

    Else a node would find out only when all is trained and it is to read the best checkpoint.
    """
    if group.nodes == 1:
        return
    token = uuid.uuid4().hex
    if group.is_main:
        with contextlib.suppress(OSError):  # then the main process does not see it either
            (folder / f".{token}").write_text(token, encoding="utf-8")
    token = group.broadcast(token)
    file = folder / f".{token}"
    try:
        seen = file.read_text(encoding="utf-8") == token
    except OSError:
        seen = False
    blind = group.count(yes=not seen) // group.local_world_size
    if group.is_main:
        file.unlink(missing_ok=True)
    if blind:
        raise PreflightError(
            f"hydra.run.dir={folder}: {blind} of {group.nodes} nodes do not see what the main one"
            " writes there",
            field="hydra.run.dir",
            remedy="name a folder on a file system that all nodes share: hydra.run.dir=FOLDER",
        )


def check_space(folder: Path, model: nn.Module, *, kept: int, copies: int) -> None:
    """Raises PreflightError if `kept` checkpoints of `model` do not fit on the disk.

    `copies`: of every weight in one, the optimiser's moments included. Checkpoints that are in
    `folder` have their place already.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    folder.mkdir(parents=True, exist_ok=True)
    needed = max(0, kept * copies * weights - _taken(folder))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PreflightError(
            f"hydra.run.dir={folder.parent}: {free >> 20} MiB are free on {filesystem(folder)}, and"
            f" {kept} checkpoints of this model take about {needed >> 20} MiB more",
            field="hydra.run.dir",
            remedy="free some space, lower callbacks.keep_last, or name another folder",
        )


def _taken(folder: Path) -> int:
    """Bytes of the checkpoints in `folder`; those that share their bytes count once."""
    paths = [file for path in folder.glob("*.ckpt") for file in (path, *path.glob("*"))]
    sizes = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def filesystem(path: Path) -> str:
    """The mount point and kind of the filesystem that `path` is or would be on."""
    path = path.absolute()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    for folder in (path, *path.parents):
        if folder in mounts:
            return f"{folder} ({mounts[folder]})"
    return "/"
