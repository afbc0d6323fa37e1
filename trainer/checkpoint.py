"""Checkpoints that are whole or not there: written atomically, hashed, verified before loading.

A checkpoint is a file with a sidecar, or a folder of shards with a manifest in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from trainer.atomic_file import HashingStream, staged
from trainer.errors import CheckpointError
from trainer.sidecar import SCHEMA, entry_of, publish, read_sidecar, remove_file, verify_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKPOINT_SCHEMA = 1
KEY = "trainyard"
"""Where a checkpoint describes itself."""
WEIGHTS_PREFIX = "model."
"""The trained module's name inside the Lightning module's state."""
RANDOMNESS = {
    "order": "f(seed, epoch)",
    "augmentation": "f(seed, epoch, index)",
    "dropout": "f(seed, batch, rank)",
}
"""Nothing random has a state, so a checkpoint holds none."""


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """The description of a checkpoint whose bytes are those that were written.

    Raises CheckpointError if anything of it is missing, or size or sha256 differ.
    """
    return verify_file(path)


def read_checkpoint(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify the file against its sidecar, then load plain containers and tensors only.

    Raises CheckpointError, whatever is wrong with the file.
    """
    verify_file(path)
    return load_plain(path, map_location=map_location)


def load_plain(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Load tensors and plain containers; anything that would run code is refused."""
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: refused, it holds more than tensors and plain values ({_first_line(error)})",
            remedy="load only checkpoints that train.py wrote",
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a checkpoint")
    return loaded


def write_checkpoint(
    path: Path, checkpoint: Mapping[str, Any], *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write `checkpoint` and its sidecar so that a crash at any moment leaves a whole one.

    Raises CheckpointError if the disk refuses; what was at `path` before is then untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as temporary:
            written = _save(checkpoint, temporary)
            publish(temporary, path, {**describe(facts or {}), **written})
    except OSError as error:
        raise unwritable(path, error) from error


def describe(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What every description of a checkpoint says."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        **facts,
    }


def unwritable(path: Path, error: OSError) -> CheckpointError:
    """The disk is full, read-only or gone."""
    return CheckpointError(
        f"{path}: cannot be written ({error.strerror or error}); the checkpoints before it are"
        " intact",
        field="hydra.run.dir",
        remedy="make room, or name a folder on another disk",
    )


def link_checkpoint(source: Path, target: Path) -> None:
    """Give the checkpoint `source` a second name, as atomically as `write_checkpoint` writes.

    The bytes are shared where the filesystem can, copied where not.
    """
    try:
        with staged(target) as temporary:
            temporary.unlink()
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)
            publish(temporary, target, entry_of(read_sidecar(source)))
    except OSError as error:
        raise unwritable(target, error) from error


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint with its description."""
    remove_file(path)


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's door to the functions above."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write atomically, with a sidecar."""
        if storage_options is not None:
            raise CheckpointError("checkpoints take no storage options")
        write_checkpoint(Path(path), checkpoint, facts=facts_of(checkpoint))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Verify, then load; `weights_only` cannot be switched off."""
        if weights_only is False:
            raise CheckpointError(f"{path}: refused, unpickling a checkpoint can run any code")
        return read_checkpoint(Path(path), map_location=map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the file and its sidecar."""
        remove_checkpoint(Path(path))


def facts_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a description repeats from the checkpoint, to be read without loading it."""
    own = checkpoint.get(KEY, {})
    config = own.get("config", {})
    return {
        "step": int(checkpoint.get("global_step", 0)),
        "epoch": int(checkpoint.get("epoch", 0)),
        "batch": _batch(checkpoint),
        "world_size": int(own.get("world_size", 1)),
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "versions": own.get("versions", {}),
        "run_id": own.get("run_id"),
        "randomness": {"seed": config.get("seed"), **RANDOMNESS},
    }


def _batch(checkpoint: Mapping[str, Any]) -> int:
    """Batches of its epoch that were trained on."""
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    progress = loop.get("epoch_loop.batch_progress", {}).get("current", {})
    return int(progress.get("completed", 0))


def _save(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write to an open place; size and sha256 of what was meant, not of what can be read back."""
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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
