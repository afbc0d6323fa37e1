"""ServiceTime: how long batches take, as measured."""

from __future__ import annotations

from serving.fixed_cost import FixedCost

MEMORY = 0.8
"""Share of an average that the next measurement leaves as it was."""


class ServiceTime:
    """Moving averages of one model's batches. Knows nothing before the first.

    Of three batches that follow each other the one counts that took neither the longest nor the
    shortest: what stalls once foretells nothing, and what goes on taking longer is soon believed.
    """

    def __init__(self) -> None:
        self.batch = 0.0
        """Seconds that one takes."""
        self.size = 0.0
        """Samples in it."""
        self._latest: list[tuple[float, int]] = []
        self._batches = 0
        self._fixed = FixedCost()

    def measured(self, *, samples: int, seconds: float) -> None:
        """A batch of that many samples ran for so long."""
        self._latest = [*self._latest[-2:], (seconds, samples)]
        seconds, samples = sorted(self._latest)[(len(self._latest) - 1) // 2]
        self._batches += 1
        weight = max(1 - MEMORY, 1 / self._batches)
        self.batch += weight * (seconds - self.batch)
        self.size += weight * (samples - self.size)
        self._fixed.measured(samples=samples, seconds=seconds)

    @property
    def saves(self) -> float:
        """Seconds saved by a sample that runs along with others; all there is while that is
        unknown.
        """
        return self._fixed.seconds

    @property
    def each(self) -> float:
        """Seconds that one more sample takes; 0 if that is not known."""
        return min(self._fixed.each, self.batch / self.size) if self.size else 0.0
