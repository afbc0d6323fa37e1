"""Evidence: that of two proportions one is larger than the other allows, at whatever time.

What champion and challenger did at the same time is a block: n and m batches of which some count as
hits. The null hypothesis is that the challenger's proportion q is at most `margin` above the
champion's p (or at least, where the alternatives are on the other side). For proportions a and b
that an alternative expects, a block's evidence is its likelihood under (a, b) divided by that under
the pair (p, q) of the null hypothesis that is nearest by n KL(a, p) + m KL(b, q). The mean of that
ratio is at most 1 whatever the proportions really are, as long as they are in the null hypothesis,
and these may be others in every block: load or input that both suffer from is evidence of nothing
(Turner and Grünwald 2023, "Exact anytime-valid confidence intervals for contingency tables and
beyond"). So it is for weights that are no whole numbers, and for batches of which a part is a hit
(Jensen).

A product of such ratios stays at most 1 in the mean, and so ever reaches 1/alpha with a probability
of at most alpha, however often one looks (Ville's inequality). But while nothing is wrong it falls
without end, and what goes wrong after an hour would have to make up for that hour first. So a
product is begun again and again, the k-th with a stake of 1 / k(k+1). All stakes together are 1,
and for what becomes of all of them the same bound holds, for ever (Shin, Ramdas and Rinaldo 2024,
"E-detectors"). What begins late is found for a factor of k(k+1)/2 more evidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

BEGIN_TICKS = 10
"""Ticks in which something was compared, until the next product begins."""
_HALVINGS = 32
"""Of the interval in which the nearest proportion is."""


class Evidence:
    """Of one direction, against one margin."""

    def __init__(self, alternatives: Sequence[tuple[float, float]], *, margin: float = 0.0) -> None:
        """`alternatives`: what might be expected of champion and challenger; their mean counts."""
        self._champion, self._challenger = np.array(alternatives).T
        self._margin = margin
        self._logs: Floats = np.full(len(alternatives), -np.inf)
        """By alternative: of the sum of all products that were begun."""
        self._ticks = 0

    def add(self, blocks: Sequence[Floats]) -> None:
        """All that can be compared of one tick: champion and challenger, [hits, count] of each."""
        if not blocks:
            return
        begun, within = divmod(self._ticks, BEGIN_TICKS)
        if within == 0:
            self._logs = np.logaddexp(self._logs, -math.log((begun + 1) * (begun + 2)))
        self._ticks += 1
        (hits, count), (other_hits, other_count) = np.moveaxis(np.array(blocks)[..., None], 0, 2)
        nearest = self._nearest(count, other_count)  # (blocks, alternatives), as what is added
        ratios = _log_ratio(hits, count, self._champion, nearest)
        ratios += _log_ratio(other_hits, other_count, self._challenger, nearest + self._margin)
        self._logs += ratios.sum(axis=0)

    def suffices(self, alpha: float) -> bool:
        """However often it is asked, it is ever wrong with a probability of at most alpha."""
        return self.share(alpha) >= 1

    def share(self, alpha: float) -> float:
        """How much of what suffices there is, in logarithms; below 0 it speaks against."""
        mean = np.logaddexp.reduce(self._logs) - math.log(len(self._logs))
        return float(mean / -math.log(alpha))

    def _nearest(self, count: Floats, other_count: Floats) -> Floats:
        """The champion's proportion in the nearest pair; the challenger's is `margin` higher.

        Both counts are (blocks, 1). Where the divergence is least its derivative is 0.
        """
        if self._margin == 0:
            expected = count * self._champion + other_count * self._challenger
            pooled: Floats = expected / (count + other_count)
            return pooled
        shape = (len(count), len(self._logs))
        moved = self._challenger - self._margin
        low = np.broadcast_to(np.maximum(0.0, np.minimum(self._champion, moved)), shape)
        high = np.broadcast_to(np.maximum(self._champion, moved), shape)
        for _ in range(_HALVINGS):
            one = (low + high) / 2
            other = one + self._margin
            falls = count * (self._champion - one) * other * (1 - other) > other_count * (
                one - moved
            ) * one * (1 - one)
            low, high = np.where(falls, one, low), np.where(falls, high, one)
        nearest: Floats = (low + high) / 2
        return nearest


def _log_ratio(hits: Floats, count: Floats, expected: Floats, nearest: Floats) -> Floats:
    ratio: Floats = hits * np.log(expected / nearest)
    ratio += (count - hits) * np.log((1 - expected) / (1 - nearest))
    return ratio
