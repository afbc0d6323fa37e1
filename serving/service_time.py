"""ServiceTime: how long batches take, as measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from serving.fixed_cost import FixedCost

if TYPE_CHECKING:
    from serving.served_model import ModelKey

MEMORY = 0.8
"""Share of an average that the next measurement leaves as it was."""


class ServiceTime:
    """Moving averages by model, in seconds. Knows nothing before the first batch."""

    def __init__(self) -> None:
        self._batch: dict[ModelKey, float] = {}
        self._sample: dict[ModelKey, float] = {}
        self._fixed: dict[ModelKey, FixedCost] = {}

    def measured(self, model: ModelKey, *, samples: int, seconds: float) -> None:
        """A batch of that many samples ran for so long."""
        self._fixed.setdefault(model, FixedCost()).measured(samples=samples, seconds=seconds)
        for averages, value in ((self._batch, seconds), (self._sample, seconds / samples)):
            known = averages.get(model, value)
            averages[model] = MEMORY * known + (1 - MEMORY) * value

    def batch(self, model: ModelKey) -> float:
        """What a batch takes; 0 if that is not known."""
        return self._batch.get(model, 0.0)

    def saves(self, model: ModelKey) -> float:
        """What it saves to run a sample along with others; all there is while that is unknown."""
        known = self._fixed.get(model)
        return math.inf if known is None else known.seconds

    def sample(self, model: ModelKey) -> float:
        """What a sample takes in a batch; 0 if that is not known."""
        return self._sample.get(model, 0.0)
