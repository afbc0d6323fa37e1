"""Calibration: whether a model is right as often as it says it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trainer.metrics.predictions import Predictions

BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks (https://arxiv.org/abs/1706.04599)."""
_Z = 1.959964
"""Of 95 %."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The samples whose confidence is in (low, high]."""

    low: float
    high: float
    samples: int
    confidence: float
    """Mean; NaN in an empty bin, like accuracy."""
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of the probability that was given to the answer."""

    samples: int
    bins: tuple[Bin, ...]
    error: float
    """Expected calibration error: |accuracy - confidence| of each bin, weighted by its samples."""
    brier: float
    """Mean over samples of Σ (probability - truth)² over the classes (Brier 1950): 0…2."""
    confidence: float
    accuracy: float


def calibration_of(predictions: Predictions, *, bins: int = BINS) -> Calibration:
    """In bins of equal width. Raises ValueError without a sample."""
    samples = len(predictions)
    if not samples:
        raise ValueError("calibration needs at least one sample")
    confidence = predictions.confidence.astype(np.float64)
    right = predictions.label == predictions.predicted
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        found.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                samples=count,
                confidence=float(confidence[inside].mean()) if count else float("nan"),
                accuracy=float(right[inside].mean()) if count else float("nan"),
            )
        )
    return Calibration(
        samples=samples,
        bins=tuple(found),
        error=sum(abs(b.accuracy - b.confidence) * b.samples for b in found if b.samples) / samples,
        brier=float(predictions.squared_error.astype(np.float64).mean()),
        confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
    )


def wilson_interval(share: float, samples: int) -> tuple[float, float]:
    """95 % confidence interval of a share seen in `samples` (Wilson 1927)."""
    if samples < 1:
        return 0.0, 1.0
    square = _Z * _Z / samples
    centre = (share + square / 2) / (1 + square)
    half = _Z * sqrt(share * (1 - share) / samples + square / (4 * samples)) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)
