"""Checkpoints that are whole or not there: written atomically, hashed, verified before loading.

Beside `best.ckpt` lies `best.ckpt.json`, its sidecar: size, sha256, step, versions. A checkpoint
without one, or whose bytes are others, is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIDECAR_SCHEMA = 1
CHECKPOINT_SCHEMA = 1
KEY = "trainyard"
"""Where a checkpoint describes itself."""
WEIGHTS_PREFIX = "model."
"""The trained module's name inside the Lightning module's state."""
_CHUNK = 1 << 20
_REMEDY = "use another checkpoint of the run"


def sidecar_path(path: Path) -> Path:
    """`best.ckpt` → `best.ckpt.json`."""
    return path.with_name(path.name + ".json")


def read_checkpoint(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Verify the file against its sidecar, then load plain containers and tensors only.

    Raises CheckpointError, whatever is wrong with the file.
    """
    verify_checkpoint(path)
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


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """The sidecar of a checkpoint whose bytes are those that were written.

    Raises CheckpointError if the file or its sidecar is missing, or size or sha256 differ.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    sidecar = _read_sidecar(path)
    described = [sidecar, *([sidecar["previous"]] if sidecar.get("previous") else [])]
    size = path.stat().st_size
    if size not in [entry["bytes"] for entry in described]:
        raise CheckpointError(
            f"{path}: damaged, {size} bytes where {sidecar['bytes']} were written",
            remedy=_REMEDY,
        )
    digest = _sha256(path)
    for entry in described:
        if entry["sha256"] == digest:
            return _latest(entry)
    raise CheckpointError(
        f"{path}: damaged, its sha256 is {digest[:12]}… where {sidecar['sha256'][:12]}… was"
        " written",
        remedy=_REMEDY,
    )


def write_checkpoint(
    path: Path, checkpoint: Mapping[str, Any], *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write `checkpoint` and its sidecar so that a crash at any moment leaves a whole one.

    The temporary file is in the same folder: a rename across filesystems is not atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            torch.save(dict(checkpoint), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        entry = {
            "schema": SIDECAR_SCHEMA,
            "sha256": _sha256(temporary),
            "bytes": temporary.stat().st_size,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
            **(facts or {}),
        }
        _publish(temporary, path, entry)
    finally:
        temporary.unlink(missing_ok=True)


def link_checkpoint(source: Path, target: Path) -> None:
    """Give the checkpoint `source` a second name, as atomically as `write_checkpoint` writes.

    The bytes are shared where the filesystem can, copied where not.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        _publish(temporary, target, _latest(_read_sidecar(source)))
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path, entry: Mapping[str, Any]) -> None:
    """Bring file and sidecar to their names. Between the writes the sidecar describes both the
    file that is there and the one that comes, so no crash leaves one that does not verify.
    """
    sidecar = sidecar_path(path)
    before = _standing(path)
    if before is not None:
        write_json(sidecar, {**entry, "previous": before})
    temporary.replace(path)
    _fsync_folder(path.parent)
    write_json(sidecar, entry)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small JSON file in one step."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=2, sort_keys=True, ensure_ascii=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's door to the functions above."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write atomically, with a sidecar."""
        if storage_options is not None:
            raise CheckpointError("checkpoints take no storage options")
        write_checkpoint(Path(path), checkpoint, facts=_facts(checkpoint))

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
        Path(path).unlink(missing_ok=True)
        sidecar_path(Path(path)).unlink(missing_ok=True)


def _facts(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar repeats from the checkpoint, to be read without loading it."""
    own = checkpoint.get(KEY, {})
    config = json.dumps(own.get("config", {}), sort_keys=True)
    return {
        "step": int(checkpoint.get("global_step", 0)),
        "epoch": int(checkpoint.get("epoch", 0)),
        "world_size": int(own.get("world_size", 1)),
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "versions": own.get("versions", {}),
    }


def _standing(path: Path) -> dict[str, Any] | None:
    """The entry of the checkpoint now at `path`, if there is one."""
    try:
        sidecar = _read_sidecar(path)
        # An earlier crash left two entries: only the bytes tell which one counts.
        return verify_checkpoint(path) if sidecar.get("previous") else sidecar
    except CheckpointError:
        return None


def _latest(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """The entry itself, without the one it replaced."""
    return {key: value for key, value in sidecar.items() if key != "previous"}


def _read_sidecar(path: Path) -> dict[str, Any]:
    sidecar = sidecar_path(path)
    try:
        value = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: cannot be verified, {sidecar.name} is not beside it",
            remedy="copy both files",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{sidecar}: unreadable ({_first_line(error)})") from error
    if not isinstance(value, dict) or value.get("schema") != SIDECAR_SCHEMA:
        raise CheckpointError(f"{sidecar}: not a checkpoint's description that this version knows")
    for entry in [value, value.get("previous") or value]:
        if not isinstance(entry.get("bytes"), int) or not isinstance(entry.get("sha256"), str):
            raise CheckpointError(f"{sidecar}: bytes or sha256 is missing")
    return value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
