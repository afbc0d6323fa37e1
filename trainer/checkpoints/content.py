"""What is inside a checkpoint: plain containers and tensors, and how they describe themselves."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bundle.errors import first_line
from trainer.errors import CheckpointError
from trainer.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""Most of what is in a checkpoint; nothing changes it."""


def load_plain(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Load tensors and plain containers; anything that would run code is refused."""
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{path}: refused, it holds more than tensors and plain values ({first_line(error)})",
            remedy="load only checkpoints that train.py wrote",
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a checkpoint")
    return loaded


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


def copy_to_cpu(value: Any) -> Any:
    """The same containers with tensors of their own, which later steps do not change.

    Tensors that were one stay one, so that tied weights are not written twice.
    """
    return _Copier().copy(value)


class _Copier:
    def __init__(self) -> None:
        self._copies: dict[tuple[Any, ...], Tensor] = {}

    def copy(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, OrderedDict):
            # A state's versions are an attribute of its OrderedDict.
            copied = OrderedDict((key, self.copy(item)) for key, item in value.items())
            copied.__dict__.update(self.copy(dict(value.__dict__)))
            return copied
        if isinstance(value, dict):
            return {key: self.copy(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.copy(item) for item in value]
        if type(value) is tuple:
            return tuple(self.copy(item) for item in value)
        return value

    def _tensor(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        start = tensor.data_ptr()
        key = (start, tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        if start == 0 or key not in self._copies:
            self._copies[key] = tensor.to("cpu", copy=True)
        return self._copies[key]


def _batch(checkpoint: Mapping[str, Any]) -> int:
    """Batches of its epoch that were trained on."""
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    progress = loop.get("epoch_loop.batch_progress", {}).get("current", {})
    return int(progress.get("completed", 0))
