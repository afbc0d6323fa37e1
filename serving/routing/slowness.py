"""Slowness: whether a challenger's batches take that many times longer than the champion's.

Larger batches take longer, and the version with more traffic has larger ones. So batches of one
size are compared with each other only. Of each size, what ran since the last comparison is a block:
how many of the champion's batches took longer than its 95th percentile was before, and how many of
the challenger's longer than `ratio` times as much. That the second proportion is no larger than the
first is what the evidence is against. For proportions a < b expected in a block of n and m batches
it is the likelihood ratio against (na + mb) / (n + m) for both, whose mean is at most 1 whatever
the proportion really is (Turner, Ly and Grünwald 2024, "Generic E-variables for exact sequential
k-sample tests that allow for optional stopping"). Being at most 1 for each block by itself it stays
so for their product, over all blocks and sizes, and for the mean over several a and b: it may be
looked at at any time (Ville's inequality), and load that slows both versions down for a while is
evidence of nothing.

Counts need not be whole: of a power below 1 of such a ratio the mean is at most that power of the
ratio's mean (Jensen), and the proof above holds for weights in the place of counts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from serving.routing.outcomes import EDGES, RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.routing.outcomes import Durations, Size

Floats = npt.NDArray[np.float64]

TAIL = 0.05
FIRST_BATCHES = 20
"""Of the champion, in each size, from which its percentile is known for the first time."""
_ENTRIES = len(EDGES) + 1

CHAMPION = (0.01, 0.03, 0.06, 0.12)
ABOVE = (0.06, 0.12, 0.5, 0.97)
MORE: Floats = np.array(
    [(a, b) for a in CHAMPION for b in (0.06, 0.12, 0.2, 0.35, 0.6, 0.9) if b > a]
)
FEWER: Floats = np.array([(a, b * a) for a in ABOVE for b in (0.02, 0.1, 0.3, 0.6)])
"""Proportions that are expected of champion and challenger. Where durations hardly differ all of
the champion's may be above the edge below its percentile, and none above that one."""


class Evidence:
    """That the challenger's proportion is another than the champion's, in one direction."""

    def __init__(self, ratio: float, alternatives: Floats) -> None:
        self._farther = math.ceil(math.log(ratio) / math.log(RATIO))
        self._champion, self._challenger = alternatives.T
        self._logs: Floats = np.zeros(len(alternatives))

    def add(self, champion: Floats, challenger: Floats, edge: int) -> None:
        """A block: whether the champion's were above that edge, and the challenger's above the one
        that is `ratio` times as far.
        """
        n, m = champion.sum(), challenger.sum()
        both = (n * self._champion + m * self._challenger) / (n + m)
        for block, own, first in (
            (champion, self._champion, edge + 1),
            (challenger, self._challenger, edge + self._farther + 1),
        ):
            above = block[first:].sum()
            self._logs += above * np.log(own / both)
            self._logs += (block.sum() - above) * np.log((1 - own) / (1 - both))

    def suffices(self, alpha: float) -> bool:
        """However often it is asked, it is ever wrong with a probability of at most alpha."""
        mean = np.logaddexp.reduce(self._logs) - math.log(len(self._logs))
        return bool(mean >= -math.log(alpha))


class Slowness:
    """Of one challenger and the champion, under one split."""

    def __init__(self, *, ratio: float, safe_ratio: float) -> None:
        """`ratio`: from which on it is too slow; `safe_ratio`: below which it may have more."""
        self._slower = Evidence(ratio, MORE)
        self._no_slower = Evidence(safe_ratio, FEWER)
        self._strata: dict[Size, _Stratum] = {}

    def add(self, champion: Durations, challenger: Durations) -> None:
        """What ran since the last time."""
        for size in {*champion, *challenger}:
            stratum = self._strata.setdefault(size, _Stratum())
            stratum.add(champion.get(size, {}), challenger.get(size, {}))
            if stratum.comparable:
                one, other, percentile = stratum.block()
                self._slower.add(one, other, percentile)
                self._no_slower.add(one, other, percentile - 1)

    def is_slower(self, alpha: float) -> bool:
        """Whether it takes more than `ratio` times as long; wrong with at most alpha."""
        return self._slower.suffices(alpha)

    def is_safe(self, alpha: float) -> bool:
        """Whether it takes less than `safe_ratio` times as long; wrong with at most alpha."""
        return self._no_slower.suffices(alpha)


class _Stratum:
    """Batches of one size: the champion's before the block, and both versions' in it."""

    def __init__(self) -> None:
        self._before = np.zeros(_ENTRIES)
        self._champion = np.zeros(_ENTRIES)
        self._challenger = np.zeros(_ENTRIES)

    def add(self, champion: Mapping[int, float], challenger: Mapping[int, float]) -> None:
        known = self._before.sum() >= FIRST_BATCHES
        _count(champion, self._champion if known else self._before)
        _count(challenger, self._challenger)

    @property
    def comparable(self) -> bool:
        """Whether the block has something of both."""
        return bool(self._champion.any() and self._challenger.any())

    def block(self) -> tuple[Floats, Floats, int]:
        """Champion, challenger, and the edge below which the champion's percentile was. The next
        block begins.
        """
        reached = np.cumsum(self._before) >= (1 - TAIL) * self._before.sum()
        champion, challenger = self._champion, self._challenger
        self._before = self._before + champion
        self._champion, self._challenger = np.zeros(_ENTRIES), np.zeros(_ENTRIES)
        return champion, challenger, int(reached.argmax())


def _count(taken: Mapping[int, float], into: Floats) -> None:
    for entry, share in taken.items():
        into[entry] += share
