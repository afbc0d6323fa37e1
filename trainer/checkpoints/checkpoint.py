"""Checkpoints that are whole or not there: written atomically, hashed, verified before loading.

A checkpoint is a file with a sidecar, or a folder of shards with a manifest in it.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import torch

from bundle.atomic_file import HashingStream, staged
from trainer.checkpoints.content import (
    CHECKPOINT_SCHEMA,
    KEY,
    WEIGHTS_PREFIX,
    facts_of,
    load_plain,
)
from trainer.checkpoints.sharded import (
    link_sharded,
    read_manifest,
    read_sharded,
    remove_sharded,
    verify_sharded,
)
from trainer.checkpoints.sidecar import (
    describe,
    publish,
    remove_file,
    sidecar_path,
    standing_entry,
    unwritable,
    verify_file,
)
from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "CHECKPOINT_SCHEMA",
    "KEY",
    "WEIGHTS_PREFIX",
    "consolidate",
    "link_checkpoint",
    "read_checkpoint",
    "read_description",
    "remove_checkpoint",
    "sidecar_path",
    "verify_checkpoint",
    "write_checkpoint",
]


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """The description of a checkpoint whose bytes are those that were written.

    Raises CheckpointError if anything of it is missing, or size or sha256 differ.
    """
    try:
        return verify_sharded(path) if path.is_dir() else verify_file(path)
    except OSError as error:
        raise CheckpointError(f"{path}: unreadable ({error})") from error


def read_description(path: Path) -> dict[str, Any]:
    """What a checkpoint's sidecar or manifest says, unproved. Raises CheckpointError."""
    return read_manifest(path) if path.is_dir() else standing_entry(path)


def read_checkpoint(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify, then load plain containers and tensors only; a sharded one as a whole.

    Raises CheckpointError, whatever is wrong.
    """
    if path.is_dir():
        return read_sharded(path)
    verify_file(path)
    return load_plain(path, map_location=map_location)


def write_checkpoint(
    path: Path, checkpoint: Mapping[str, Any], *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write `checkpoint` and its sidecar so that a crash at any moment leaves a whole one.

    `facts`: what the sidecar says of it; None: what is found in it. Raises CheckpointError if the
    disk refuses; what was at `path` before is then untouched.
    """
    entry = describe(facts_of(checkpoint) if facts is None else facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as temporary:
            written = _save(checkpoint, temporary)
            if path.is_dir():
                remove_sharded(path)
            publish(temporary, path, {**entry, **written})
    except OSError as error:
        raise unwritable(path, error) from error


def link_checkpoint(source: Path, target: Path) -> None:
    """Give the checkpoint `source` a second name, as atomically as `write_checkpoint` writes.

    The bytes are shared where the filesystem can, copied where not.
    """
    if source.is_dir():
        link_sharded(source, target)
        return
    try:
        with staged(target) as temporary:
            temporary.unlink()
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)
            if target.is_dir():
                remove_sharded(target)
            publish(temporary, target, standing_entry(source))
    except OSError as error:
        raise unwritable(target, error) from error


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint with its description. Raises CheckpointError if the disk refuses."""
    try:
        if path.is_dir():
            remove_sharded(path)
        else:
            remove_file(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be removed ({error.strerror or error})",
            field="hydra.run.dir",
            remedy="make the folder writable",
        ) from error


def consolidate(sharded: Path, target: Path) -> Path:
    """Write the sharded checkpoint as a single file, for everything that wants one."""
    checkpoint = read_sharded(sharded)
    write_checkpoint(target, checkpoint)
    return target


def _save(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write to the disk; size and sha256 of what was meant, not of what can be read back."""
    with path.open("wb") as file:
        stream = HashingStream(file)
        try:
            torch.save(dict(checkpoint), stream)  # type: ignore[arg-type]  # it writes, no more
        except RuntimeError:
            if stream.error is not None:
                raise stream.error from None
            raise
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": stream.sha256, "bytes": stream.bytes}
