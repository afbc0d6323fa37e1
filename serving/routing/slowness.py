"""Slowness: whether a version's 95th percentile is that many times longer than another's.

Of each place where the other's percentile may be, the evidence is collected that it is not there:
the other's requests that are above it are fewer than a twentieth, or this version's that are above
so many times as much are more. Either is a likelihood ratio, averaged over alternatives, that may
be looked at at any time (Ville's inequality), and so are their product and the mean of all three,
of which the product needs less of both where they are alike. If it excludes every place it excludes
the true one, and only of that one it has to be right, whatever it says of others (Howard and Ramdas
2022, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification").
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from serving.routing.outcomes import EDGES, RATIO

if TYPE_CHECKING:
    from serving.routing.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

TAIL = 0.05
FEWER: Floats = TAIL * np.array([0.02, 0.05, *np.arange(0.1, 0.85, 0.1), 0.88, 0.94])
MORE: Floats = TAIL * np.array([1.06, 1.13, 1.25, 1.4, 1.6, 1.9, 2.3, 2.9, 3.8, 5, 7, 10, 14, 18])
"""Alternatives to the proportion of a twentieth."""


def is_slower(challenger: Outcomes, champion: Outcomes, *, ratio: float, alpha: float) -> bool:
    """Whether it takes more than `ratio` times as long.

    However often it is asked, it is ever wrong with a probability of at most alpha.
    """
    farther = math.ceil(math.log(ratio) / math.log(RATIO))
    # Entry i: the percentile is in the champion's entry i, above edge i-1 and up to edge i.
    theirs = np.array([champion.ok, *champion.above], np.int64)
    ours = np.array([*challenger.above[farther:], *[0] * (farther + 1)], np.int64)
    one = _evidence(theirs, champion.ok, FEWER)
    other = _evidence(ours, challenger.ok, MORE)
    mean = np.logaddexp(np.logaddexp(one, other), one + other) - math.log(3)
    return bool(mean.min() >= -math.log(alpha))


def percentile(outcomes: Outcomes) -> float:
    """The 95th percentile as it was seen, in seconds, rounded up to an edge."""
    within = np.flatnonzero(np.array(outcomes.above) <= TAIL * outcomes.ok)
    return EDGES[within[0]] if len(within) else EDGES[-1]


def _evidence(hits: Counts, count: int, alternatives: Floats) -> Floats:
    """The logarithm of the mean likelihood ratio of the alternatives against a twentieth."""
    ratios = np.outer(hits, np.log(alternatives / TAIL)) + np.outer(
        count - hits, np.log((1 - alternatives) / (1 - TAIL))
    )  # (places, alternatives)
    return np.asarray(np.logaddexp.reduce(ratios, axis=1) - math.log(len(alternatives)))
