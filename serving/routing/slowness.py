"""Slowness: whether a challenger's batches take that many times longer than the champion's.

Larger batches take longer, and the version with more traffic has larger ones; and the same batch
takes longer on a busy machine. So only batches of one size are compared with each other, and only
what ran in the same tick: how many of the champion's took longer than its 95th percentile was
before that tick, and how many of the challenger's longer than `ratio` times as much. What only the
champion ran is part of that percentile, what only the challenger ran says nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from serving.routing.evidence import Evidence
from serving.routing.outcomes import EDGES, RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.routing.evidence import Floats
    from serving.routing.outcomes import Durations, Size

TAIL = 0.05
FIRST_BATCHES = 20
"""Of the champion, in each size, from which its percentile is known for the first time."""
CHAMPION_BATCHES = 1000.0
"""So many of the champion's last batches its percentile is of; older ones fade away."""
CHALLENGER_BATCHES = 100.0
"""So many of the challenger's last batches the reason names."""
_ENTRIES = len(EDGES) + 1

SLOWER = [
    (a, b)
    for a in (0.01, 0.03, 0.06, 0.12)
    for b in (0.06, 0.12, 0.2, 0.35, 0.6, 0.9)
    if b > a
]  # fmt: skip
NO_SLOWER = [(a, b * a) for a in (0.06, 0.12, 0.5, 0.97) for b in (0.02, 0.1, 0.3, 0.6)]
"""Proportions that are expected of champion and challenger. Where durations hardly differ all of
the champion's may be above the edge below its percentile, and none above that one."""


class Slowness:
    """Of one challenger and the champion."""

    def __init__(self, *, ratio: float, safe_ratio: float) -> None:
        """`ratio`: from which on it is too slow; `safe_ratio`: below which it may have more."""
        self._farther, self._safe = math.ceil(_edges(ratio)), math.floor(_edges(safe_ratio))
        self._slower = Evidence(SLOWER)
        self._strata: dict[Size, _Stratum] = {}
        self.next_stage()

    def next_stage(self) -> None:
        """What was seen does not speak for a larger share any more."""
        self._no_slower = Evidence(NO_SLOWER)
        self._compared = np.zeros(2)

    @property
    def compared(self) -> float:
        """Batches of either version in this stage."""
        return float(self._compared.min())

    def add(self, champion: Durations, challenger: Durations) -> None:
        """What ran in one tick."""
        slower, no_slower = [], []
        for size, taken in champion.items():
            stratum = self._strata.setdefault(size, _Stratum())
            other = challenger.get(size)
            if other and stratum.known:
                edge = _percentile(stratum.champion)
                slower.append(_block(taken, edge, other, edge + self._farther))
                no_slower.append(_block(taken, edge - 1, other, edge - 1 + self._safe))
                _remember(stratum.challenger, other, most=CHALLENGER_BATCHES)
            _remember(stratum.champion, taken, most=CHAMPION_BATCHES)
        self._slower.add(slower)
        self._no_slower.add(no_slower)
        for block in slower:
            self._compared += block[:, 1]

    def is_slower(self, alpha: float) -> bool:
        """Whether it takes more than `ratio` times as long; ever wrong with at most alpha."""
        return self._slower.suffices(alpha)

    def safety(self, alpha: float) -> float:
        """From 1 on it takes less than `safe_ratio` times as long; wrong with at most alpha."""
        return self._no_slower.share(alpha)

    def describe(self) -> str:
        """Of the size of which most was compared, among those in which it is slower."""
        size, stratum = max(self._strata.items(), key=lambda item: item[1].rank(self._farther))
        theirs, ours = stratum.challenger, stratum.champion
        return (
            f"the 95th percentile of its batches of {size} is {_milliseconds(theirs)}, that of the "
            f"champion's {_milliseconds(ours)} (the last {theirs.sum():.0f} and {ours.sum():.0f})"
        )


class _Stratum:
    """Batches of one size by duration: the champion's, and the challenger's that were compared."""

    def __init__(self) -> None:
        self.champion, self.challenger = np.zeros(_ENTRIES), np.zeros(_ENTRIES)

    @property
    def known(self) -> bool:
        return bool(self.champion.sum() >= FIRST_BATCHES)

    def rank(self, farther: int) -> tuple[bool, float]:
        """How much it says of a challenger that is slower by so many edges."""
        apart = _percentile(self.challenger) - _percentile(self.champion)
        return apart >= farther, float(self.challenger.sum())


def _edges(ratio: float) -> float:
    """By how many edges durations are apart that differ by this factor."""
    return math.log(ratio) / math.log(RATIO)


def _block(
    champion: Mapping[int, float], edge: int, challenger: Mapping[int, float], other_edge: int
) -> Floats:
    """How many were above the edge, and how many there were: champion and challenger."""
    return np.array([_above(champion, edge), _above(challenger, other_edge)])


def _above(taken: Mapping[int, float], edge: int) -> tuple[float, float]:
    return sum(share for entry, share in taken.items() if entry > edge), sum(taken.values())


def _remember(batches: Floats, taken: Mapping[int, float], *, most: float) -> None:
    for entry, share in taken.items():
        batches[entry] += share
    batches *= min(1.0, most / batches.sum())


def _percentile(batches: Floats) -> int:
    """The edge up to which all but the tail is."""
    return int((np.cumsum(batches) >= (1 - TAIL) * batches.sum()).argmax())


def _milliseconds(batches: Floats) -> str:
    entry = min(_percentile(batches), len(EDGES) - 1)
    return f"{1000 * EDGES[entry]:.3g} ms"
