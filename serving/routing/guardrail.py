"""Guardrail: whether a challenger may have more traffic, must lose it, or has to go on as it is.

It may be asked after every request without being wrong more often for it. The share of failures
has a confidence sequence: the values that a beta mixture of all others does not beat by 1/alpha,
which with probability 1 - alpha hold the true one at all times (Ville's inequality; Robbins 1970;
Howard et al. 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"). It also
holds the mean of what is between 0 and 1, such as the share of a batch that failed: a likelihood
ratio is convex in it, so its mean is at most that of whole failures. `slowness` has the durations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.routing.outcomes import Outcomes
    from serving.routing.slowness import Slowness

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


def judge(
    champion: Outcomes, challenger: Outcomes, slowness: Slowness, policy: Policy
) -> Judgement:
    """All since the split was last changed, under the same load."""
    fewest = min(champion.requests, challenger.requests)
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
    if slowness.is_slower(policy.alpha / 2):
        return Judgement(
            Verdict.ROLLBACK,
            f"the 95th percentile of its batches is more than {policy.p95_ratio:g} times that of "
            "the champion's batches of the same size",
        )
    if theirs[1] > ours[0] + policy.advance_margin:
        return Judgement(Verdict.HOLD, "too few samples to tell the shares of failures apart")
    if not slowness.is_safe(alpha):
        return Judgement(
            Verdict.HOLD, "too few batches of the same size to tell the 95th percentiles apart"
        )
    return Judgement(Verdict.ADVANCE, "no worse than the champion")


def _interval(hits: float, count: float, alpha: float) -> tuple[float, float]:
    """The confidence sequence of a proportion, as it stands after `count`."""
    if count == 0:
        return 0.0, 1.0
    middle = min(1.0, hits / count)
    return (
        _bound(hits, count, alpha, inside=middle, outside=0.0),
        _bound(hits, count, alpha, inside=middle, outside=1.0),
    )


def _bound(hits: float, count: float, alpha: float, *, inside: float, outside: float) -> float:
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _excludes(hits, count, middle, alpha):
            outside = middle
        else:
            inside = middle
    return outside


def _excludes(hits: float, count: float, proportion: float, alpha: float) -> bool:
    """Whether the mixture, Jeffreys' beta(1/2, 1/2), beats the proportion by 1/alpha."""
    misses = max(0.0, count - hits)  # sums of shares may be off by a rounding
    mixture = (
        math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(count + 1.0)
        - math.log(math.pi)
    )  # fmt: skip
    own = _log(proportion, hits) + _log(1.0 - proportion, misses)
    return mixture - own >= -math.log(alpha)


def _log(probability: float, times: float) -> float:
    """Of so many independent events."""
    if times == 0:
        return 0.0
    return times * math.log(probability) if probability > 0 else -math.inf
