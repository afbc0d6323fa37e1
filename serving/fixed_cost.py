"""FixedCost: what a batch takes however few its samples are, and each that joins it saves."""

from __future__ import annotations

import math

FEW = 32
"""Batches, or less, of which nothing is concluded."""
MANY = 50
"""Batches that count in an average, about: of more the latest has as large a share as of these."""
EVEN = 1 / 16
"""Variance of their sizes below which batches are as good as equal, and little is told by it."""

FARTHEST = 16
"""Variances, and one more, from which on a size counts less the farther it strays: a single batch
is not remembered for longer than many that contradict it.
"""


class FixedCost:
    """Of one model: where the straight line through its batches' times, by their samples, begins.

    All of a batch's time where all had as many samples, so that nothing can be told apart.
    """

    def __init__(self) -> None:
        self._batches = 0
        self._samples = self._seconds = 0.0
        self._variance = self._covariance = 0.0

    def measured(self, *, samples: int, seconds: float) -> None:
        """A batch ran."""
        self._batches += 1
        weight = 1 / self._batches if self._batches < MANY else 1 / MANY
        more, longer = samples - self._samples, seconds - self._seconds
        self._samples += weight * more
        self._seconds += weight * longer
        square = more * more
        reach = FARTHEST * (1 + self._variance)
        share = weight if square <= reach else weight * reach / square
        self._variance = (1 - weight) * (self._variance + share * square)
        self._covariance = (1 - weight) * (self._covariance + share * more * longer)

    @property
    def seconds(self) -> float:
        """Beyond all bounds as long as few batches have run."""
        if self._batches <= FEW:
            return math.inf
        each = self._covariance / self._variance if self._variance else 0.0
        return min(self._seconds, max(0.0, self._seconds - each * self._samples))

    @property
    def each(self) -> float:
        """What one more sample takes: the line's slope, in so far as sizes differed of late. What a
        batch took once does not count for ever, where none of another size comes after it.
        """
        return max(0.0, self._covariance / (self._variance + EVEN))
