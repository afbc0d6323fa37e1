"""Sharded checkpoints: a folder that all processes write together, each its share.

The tensors are in the format of torch.distributed.checkpoint, and so can be read by another
number of processes; everything else is in `state.pt`. `manifest.json` has the size and sha256 of
each file. Neither part can run code; see `trainer/checkpoints/shard_reader.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from bundle.archive import sha256_file
from bundle.publish import publish
from trainer.checkpoints.content import facts_of, load_plain
from trainer.checkpoints.sidecar import (
    describe,
    read_sealed,
    sidecar_path,
    unwritable,
    write_sealed,
)
from trainer.errors import CheckpointError
from trainer.parallel.group import is_joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
STATE = "state.pt"
_TENSOR = "__tensor__"


def save_sharded(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the folder `path`; every process of the group calls this with the same `path`.

    What all processes hold is divided among them; of a DTensor each writes its own part. The name
    appears when every file is on the disk. Raises CheckpointError, in all of them, if one fails.
    """
    from torch.distributed.checkpoint import state_dict_saver  # takes seconds; most runs need none

    rank, together = _place()
    folder = path.with_name(f".{path.name}.{_token(together)}.part")
    tensors, rest = _split(checkpoint)
    error: OSError | None = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if rank == 0:
                _write_state(folder / STATE, rest)
        except OSError as raised:
            error = raised
        _agree(path, error, together=together)
        try:
            with _alone_is_meant():
                state_dict_saver.save(tensors, checkpoint_id=folder, no_dist=not together)
        except Exception as raised:
            raise CheckpointError(
                f"{path}: cannot be written ({_root(raised)}); the checkpoints before it are intact"
            ) from raised
        try:
            if rank == 0:
                _finish(folder, path, facts_of(checkpoint))
        except OSError as raised:
            error = raised
        _agree(path, error, together=together)
    finally:
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)


def is_sharded(path: Path) -> bool:
    """Whether a folder looks like one; nothing of it is proved."""
    return (path / MANIFEST).is_file() and (path / STATE).is_file()


def verify_sharded(path: Path) -> dict[str, Any]:
    """The manifest of a folder whose files are those that were written. Raises CheckpointError.

    Its "sha256" is that of the list of all files and theirs.
    """
    manifest = read_manifest(path)
    files: dict[str, Any] = manifest["files"]
    found = {item.name for item in path.iterdir()} - {MANIFEST}
    if found != set(files):
        different = ", ".join(sorted(found ^ set(files)))
        raise CheckpointError(f"{path}: damaged, files are missing or foreign ({different})")
    for name, entry in files.items():
        file = path / name
        if file.is_symlink() or not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise CheckpointError(f"{file}: damaged, of another size than was written")
        if sha256_file(file) != entry["sha256"]:
            raise CheckpointError(f"{file}: damaged, its sha256 is not that which was written")
    listing = json.dumps(files, sort_keys=True).encode()
    return {**manifest, "sha256": hashlib.sha256(listing).hexdigest()}


def read_manifest(path: Path) -> dict[str, Any]:
    """The description inside the folder, unproved."""
    manifest = read_sealed(path / MANIFEST)
    files = manifest.get("files")
    if not isinstance(files, dict) or STATE not in files:
        raise CheckpointError(f"{path}: not a sharded checkpoint that this version knows")
    for entry in files.values():
        if not isinstance(entry, dict) or not {"bytes", "sha256"} <= set(entry):
            raise CheckpointError(f"{path / MANIFEST}: bytes or sha256 is missing")
    return manifest


def read_sharded(path: Path) -> dict[str, Any]:
    """The whole checkpoint in this process's memory, however many processes wrote it."""
    from torch.distributed.checkpoint import state_dict_loader  # see save_sharded
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    from trainer.checkpoints.shard_reader import ShardReader

    verify_sharded(path)
    rest = load_plain(path / STATE)
    reader = ShardReader(path)
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    with _alone_is_meant():
        state_dict_loader.load(tensors, storage_reader=reader, no_dist=True)
    joined = _join(rest, tensors)
    if not isinstance(joined, dict):
        raise CheckpointError(f"{path / STATE}: not a checkpoint")
    return joined


def link_sharded(source: Path, target: Path) -> None:
    """A second name for the same files."""
    folder = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir()
        for file in source.iterdir():
            try:
                os.link(file, folder / file.name)
            except OSError:
                shutil.copyfile(file, folder / file.name)
        _publish(folder, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_sharded(path: Path) -> None:
    """First the name, so that no crash leaves half a checkpoint under it."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _split(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """Tensors by their place, and everything else with the place's name where a tensor was."""
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            tensors[place] = value.detach()
            return {_TENSOR: place}
        if isinstance(value, dict):
            return {key: walk(item, f"{place}/{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, f"{place}/{number}") for number, item in enumerate(value)]
        if type(value) is tuple:
            return tuple(walk(item, f"{place}/{number}") for number, item in enumerate(value))
        return value

    return tensors, walk(dict(checkpoint), "")


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _join(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    if type(value) is tuple:
        return tuple(_join(item, tensors) for item in value)
    return value


def _write_state(path: Path, rest: Any) -> None:
    with path.open("wb") as stream:
        torch.save(rest, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _finish(folder: Path, path: Path, facts: Mapping[str, Any]) -> None:
    files = {
        file.name: {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
    }
    size = sum(file.stat().st_size for file in folder.iterdir())
    write_sealed(folder / MANIFEST, {**describe(facts), "files": files, "bytes": size})
    _publish(folder, path)


def _publish(folder: Path, path: Path) -> None:
    publish(folder, path, overwrite=True)
    # What was replaced is at `folder` now; a single file also had a sidecar.
    if folder.is_file():
        folder.unlink()
    sidecar_path(path).unlink(missing_ok=True)


def _place() -> tuple[int, bool]:
    """This process's rank, and whether there are others."""
    together = is_joined() and dist.get_world_size() > 1
    return (dist.get_rank() if together else 0), together


@contextmanager
def _alone_is_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable")
        yield


def _token(together: bool) -> str:
    token = [os.urandom(8).hex()]
    if together:
        dist.broadcast_object_list(token, src=0)
    return token[0]


def _agree(path: Path, error: OSError | None, *, together: bool) -> None:
    """Raise in every process what one has met, so that none waits for it."""
    errors: list[OSError | None] = [error]
    if together:
        errors = [None] * dist.get_world_size()
        dist.all_gather_object(errors, error)
    for met in errors:
        if met is not None:
            raise unwritable(path, met)


def _root(error: BaseException) -> str:
    """The line that names the cause, out of torch's report of all ranks."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
