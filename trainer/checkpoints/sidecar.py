"""The description beside each checkpoint, `best.ckpt.json`: size, sha256, step, versions.

A checkpoint without one, or whose bytes are others, is never loaded. The description is there
before the bytes are: a crash at any moment leaves a checkpoint that verifies, or none. It carries
a sha256 of itself, its seal: damage to it is noticed too. A seal is no signature.
"""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from bundle.archive import sha256_file
from bundle.atomic_file import write_json
from bundle.publish import fsync_folder
from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 2
SUFFIX = ".json"
_PENDING = "pending"
"""Set while the file may not have its name yet, or not any more: its absence is no damage."""
_REMOVAL = "removal"
"""What is pending of a checkpoint that is being removed."""
_PREVIOUS = "previous"
"""The entry of the file that is being replaced: either is right until the sidecar is final."""
_SEAL = "seal"
_REMEDY = "use another checkpoint of the run"


def sidecar_path(path: Path) -> Path:
    """`best.ckpt` → `best.ckpt.json`."""
    return path.with_name(path.name + SUFFIX)


def verify_file(path: Path) -> dict[str, Any]:
    """The sidecar of a checkpoint whose bytes are those that were written.

    Raises CheckpointError if the file or its sidecar is missing, or size or sha256 differ.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    sidecar = read_sidecar(path)
    described = [sidecar, *([sidecar[_PREVIOUS]] if sidecar.get(_PREVIOUS) else [])]
    size = path.stat().st_size
    if size not in [entry["bytes"] for entry in described]:
        raise CheckpointError(
            f"{path}: damaged, {size} bytes where {sidecar['bytes']} were written",
            remedy=_REMEDY,
        )
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise CheckpointError(f"{path}: unreadable ({error})", remedy=_REMEDY) from error
    for entry in described:
        if entry["sha256"] == digest:
            return entry_of(entry)
    raise CheckpointError(
        f"{path}: damaged, its sha256 is {digest[:12]}… where {sidecar['sha256'][:12]}… was"
        " written",
        remedy=_REMEDY,
    )


def standing_entry(path: Path) -> dict[str, Any]:
    """The description of the bytes that are at `path` now, unproved if there can be only one.

    A crash may have left two: then the bytes tell which one counts. Raises CheckpointError.
    """
    sidecar = read_sidecar(path)
    return verify_file(path) if sidecar.get(_PREVIOUS) else entry_of(sidecar)


def read_sidecar(path: Path) -> dict[str, Any]:
    """What lies beside `path`, which need not be there. Raises CheckpointError."""
    sidecar = sidecar_path(path)
    value = read_sealed(sidecar)
    for entry in [value, value.get(_PREVIOUS) or value]:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("bytes"), int)
            or not isinstance(entry.get("sha256"), str)
        ):
            raise CheckpointError(f"{sidecar}: bytes or sha256 is missing")
    return value


def read_sealed(path: Path) -> dict[str, Any]:
    """A description's fields. Raises CheckpointError if it is missing, damaged or unknown."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: is missing, so the checkpoint cannot be verified",
            remedy="copy a checkpoint with its description",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: unreadable ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a checkpoint's description")
    if value.get("schema") != SCHEMA:
        raise CheckpointError(f"{path}: not a checkpoint's description that this version knows")
    if value.get(_SEAL) != _seal(value):
        raise CheckpointError(f"{path}: damaged, it is not what was written", remedy=_REMEDY)
    return value


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a description in one step, with its seal."""
    write_json(path, {**value, _SEAL: _seal(value)})


def _seal(value: Mapping[str, Any]) -> str:
    """sha256 of the fields, whatever their order."""
    content = {name: field for name, field in value.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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


def is_pending(path: Path) -> bool:
    """Whether a crash came while the file was written for the first time, or removed."""
    try:
        sidecar = read_sidecar(path)
    except CheckpointError:
        return False
    pending = sidecar.get(_PENDING)
    # While one replaces another the name is never free.
    return pending == _REMOVAL or (bool(pending) and not sidecar.get(_PREVIOUS))


def entry_of(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """The description itself, without the traces of how it came there."""
    return {key: value for key, value in sidecar.items() if key not in {_PREVIOUS, _PENDING, _SEAL}}


def publish(temporary: Path, path: Path, entry: Mapping[str, Any]) -> None:
    """Bring file and sidecar to their names. Between the writes the sidecar describes both the
    file that is there and the one that comes.
    """
    write_sealed(sidecar_path(path), {**entry, _PENDING: True, _PREVIOUS: _standing(path)})
    temporary.replace(path)
    fsync_folder(path.parent)
    write_sealed(sidecar_path(path), entry)


def remove_file(path: Path) -> None:
    """Remove a checkpoint and its sidecar; a crash in between is not taken for damage."""
    sidecar = sidecar_path(path)
    try:
        write_sealed(sidecar, {**read_sidecar(path), _PENDING: _REMOVAL})
    except CheckpointError:
        sidecar.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    sidecar.unlink(missing_ok=True)


def _standing(path: Path) -> dict[str, Any] | None:
    """The entry of the checkpoint now at `path`, if there is one."""
    if not path.is_file():
        return None
    try:
        return standing_entry(path)
    except CheckpointError:
        return None
