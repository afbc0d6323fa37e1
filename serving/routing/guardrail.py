"""Guardrail: whether a challenger may have more traffic, must lose it, or has to go on as it is.

It may be asked after every request without being wrong more often for it. Each proportion has a
confidence sequence: the values that a beta mixture of all others does not beat by 1/alpha, which
with probability 1 - alpha hold the true one at all times (Ville's inequality; Robbins 1970; Howard
et al. 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"). A percentile is
between the nearest two edges of the histogram above which the proportion is found to be another
than the percentile's. It is enough if that is right of the edge beside the true one: what speaks
against an edge farther out speaks against it too. `slowness` has the ratio of two percentiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from serving.routing.outcomes import EDGES
from serving.routing.slowness import TAIL, is_slower, percentile

if TYPE_CHECKING:
    from serving.routing.outcomes import Outcomes

_STEPS = 40
"""Halvings of an interval of proportions."""


@dataclass(frozen=True)
class Policy:
    """How much worse a challenger may be, and how sure one has to be of it."""

    alpha: float = 0.01
    """Most probability that a challenger that is no worse is ever rolled back."""
    min_samples: int = 50
    """Requests that either version must have answered or failed, before anything is decided."""
    error_margin: float = 0.005
    """By how much the share of failed requests may be higher before it is too high."""
    advance_margin: float = 0.02
    """Up to which difference in that share the next stage is safe."""
    p95_ratio: float = 1.3
    """How many times longer the 95th percentile may be before it is too long."""
    advance_p95_ratio: float = 2.0
    """Up to which ratio of the percentiles the next stage is safe."""


class Verdict(Enum):
    """What follows."""

    HOLD = "hold"
    ADVANCE = "advance"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Judgement:
    """The verdict, and why."""

    verdict: Verdict
    reason: str


def judge(champion: Outcomes, challenger: Outcomes, policy: Policy) -> Judgement:
    """Both since the split was last changed, under the same load."""
    fewest = min(champion.count, challenger.count)
    if fewest < policy.min_samples:
        return Judgement(Verdict.HOLD, f"{fewest} of {policy.min_samples} samples")
    alpha = policy.alpha / 4
    ours = _interval(champion.failed, champion.count, alpha)
    theirs = _interval(challenger.failed, challenger.count, alpha)
    if theirs[0] > ours[1] + policy.error_margin:
        return Judgement(
            Verdict.ROLLBACK,
            f"at least {theirs[0]:.1%} of its requests fail, of the champion's at most "
            f"{ours[1]:.1%}",
        )
    if is_slower(challenger, champion, ratio=policy.p95_ratio, alpha=policy.alpha / 2):
        one, other = percentile(challenger) * 1000, percentile(champion) * 1000
        return Judgement(
            Verdict.ROLLBACK,
            f"its 95th percentile, about {one:.1f} ms, is more than {policy.p95_ratio:g} times the "
            f"champion's, about {other:.1f} ms",
        )
    alpha /= 2
    ours_p95 = percentile_bounds(champion, alpha)
    theirs_p95 = percentile_bounds(challenger, alpha)
    if theirs[1] > ours[0] + policy.advance_margin:
        return Judgement(Verdict.HOLD, "too few samples to tell the shares of failures apart")
    if theirs_p95[1] > policy.advance_p95_ratio * ours_p95[0]:
        return Judgement(Verdict.HOLD, "too few samples to tell the 95th percentiles apart")
    return Judgement(Verdict.ADVANCE, "no worse than the champion")


def percentile_bounds(outcomes: Outcomes, alpha: float) -> tuple[float, float]:
    """The 95th percentile of the durations is between these, in seconds; either is wrong with a
    probability of at most alpha.
    """
    above = outcomes.above
    # The counts fall, so whether an edge is excluded changes once on either side of the estimate.
    estimate = bisect_left(above, -TAIL * outcomes.ok, key=lambda count: -count)
    low, high = 0.0, math.inf
    for index in range(estimate - 1, -1, -1):
        if _excludes(above[index], outcomes.ok, TAIL, alpha):
            low = EDGES[index]
            break
    for index in range(estimate, len(EDGES)):
        if _excludes(above[index], outcomes.ok, TAIL, alpha):
            high = EDGES[index]
            break
    return low, high


def _interval(hits: int, count: int, alpha: float) -> tuple[float, float]:
    """The confidence sequence of a proportion, as it stands after `count`."""
    if count == 0:
        return 0.0, 1.0
    middle = hits / count
    return (
        _bound(hits, count, alpha, inside=middle, outside=0.0),
        _bound(hits, count, alpha, inside=middle, outside=1.0),
    )


def _bound(hits: int, count: int, alpha: float, *, inside: float, outside: float) -> float:
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _excludes(hits, count, middle, alpha):
            outside = middle
        else:
            inside = middle
    return outside


def _excludes(hits: int, count: int, proportion: float, alpha: float) -> bool:
    """Whether the mixture, Jeffreys' beta(1/2, 1/2), beats the proportion by 1/alpha."""
    misses = count - hits
    mixture = (
        math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(count + 1.0)
        - math.log(math.pi)
    )  # fmt: skip
    own = _log(proportion, hits) + _log(1.0 - proportion, misses)
    return mixture - own >= -math.log(alpha)


def _log(probability: float, times: int) -> float:
    """Of so many independent events."""
    if times == 0:
        return 0.0
    return times * math.log(probability) if probability > 0 else -math.inf
