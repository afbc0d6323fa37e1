"""ServiceTime: how long batches take, as measured."""

from __future__ import annotations

from collections import defaultdict

from serving.fixed_cost import FixedCost

MANY = 5
"""Batches that count in an average, about: of more the latest has as large a share as of these."""
ENOUGH = 3
"""Batches of about one size, of which one that stalled does not count."""


class ServiceTime:
    """Moving averages of one model's batches. Knows nothing before the first.

    Of three batches of about one size the one counts that took neither the longest nor the
    shortest: what stalls once foretells nothing, and what goes on taking longer is soon believed.
    What is larger takes longer without having stalled, and is not compared with what is smaller.
    """

    def __init__(self) -> None:
        self.batch = 0.0
        """Seconds that one takes."""
        self.size = 0.0
        """Samples in it."""
        self._latest: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        """Seconds and samples of two at most, by the first two binary digits of these."""
        self._batches = 0
        self._fixed = FixedCost()

    def measured(self, *, samples: int, seconds: float) -> None:
        """A batch of that many samples ran for so long."""
        more = samples.bit_length() - 2
        alike = self._latest[samples >> more << more if more > 0 else samples]
        alike.append((seconds, samples))
        if len(alike) == ENOUGH:
            seconds, samples = sorted(alike)[1]
            del alike[0]
        elif self._batches:  # no more than if each sample took as long as others have
            seconds, samples = min(alike)
            seconds = min(seconds, self.batch * max(1.0, samples / self.size))
        self._batches += 1
        weight = 1 / self._batches if self._batches < MANY else 1 / MANY
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
