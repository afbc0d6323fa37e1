"""The checkpoint's own answers: what every exported form of the model is measured against."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]
"""One batch: arrays by tensor name, batch dimension in front."""
Predictor = Callable[[Tensors], Array]
"""From one batch to logits: float32 (batch, classes)."""

LOGITS = "logits"
"""The name of the one output of every exported model."""


class TorchReference:
    """A `Predictor` on the restored module, in eval mode and float32."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model.eval()

    @torch.inference_mode()
    def __call__(self, batch: Tensors) -> Array:
        logits = self._model(**{name: torch.from_numpy(array) for name, array in batch.items()})
        return np.asarray(logits.float().numpy())  # (batch, classes)


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch on `count` threads while the block runs; None leaves its choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
