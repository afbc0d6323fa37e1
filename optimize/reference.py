"""The checkpoint's own answers: what every exported form of the model is measured against."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from trainer.models.normalize import Normalize

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]
"""One batch: arrays by tensor name, batch dimension in front."""
Predictor = Callable[[Tensors], Array]
"""From one batch to logits: float32 (batch, classes)."""

LOGITS = "logits"
"""The name of the one output of every exported model."""


class TorchReference:
    """A `Predictor` on the restored module, in eval mode and float32."""

    def __init__(self, model: nn.Module, *, device: str = "cpu") -> None:
        self._model = model.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, batch: Tensors) -> Array:
        inputs = {name: torch.from_numpy(array).to(self._device) for name, array in batch.items()}
        logits: torch.Tensor = self._model(**inputs)  # (batch, classes)
        return np.asarray(logits.float().cpu().numpy())


def narrowed(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose weights and activations are of that type, convolutions channels-last: as eager
    torch is made fast without leaving it. Pixels are still normalised in float32.
    """
    converted = copy.deepcopy(model).to(dtype)
    if any(isinstance(module, nn.Conv2d) for module in converted.modules()):
        converted = converted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in converted.modules():
        if isinstance(module, Normalize):
            module.float()
            module.register_forward_hook(lambda _, __, output: output.to(dtype))
    return converted


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch on `count` threads while the block runs; None leaves its choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
