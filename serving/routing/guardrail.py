"""Guardrail: whether a challenger may have more traffic, must lose it, or has to go on as it is.

It may be asked after every tick without being wrong more often for it: see `evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from serving.routing.failures import Failures
from serving.routing.slowness import Slowness

if TYPE_CHECKING:
    from serving.routing.outcomes import Outcomes


@dataclass(frozen=True)
class Policy:
    """How much worse a challenger may be, and how sure one has to be of it."""

    alpha: float = 0.01
    """Most probability that a challenger that is no worse is ever rolled back, and that one which
    is not safe gets to the next stage."""
    min_samples: int = 20
    """Batches of either version that must have been compared, before anything is decided."""
    error_margin: float = 0.005
    """By how much the share of failures may be higher before it is too high."""
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


class Guardrail:
    """Of one challenger, from its first share of the traffic to its last."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._failures = Failures(margin=policy.error_margin, safe_margin=policy.advance_margin)
        self._slowness = Slowness(ratio=policy.p95_ratio, safe_ratio=policy.advance_p95_ratio)

    def add(self, champion: Outcomes, challenger: Outcomes) -> None:
        """What both did in one tick."""
        self._failures.add(champion, challenger)
        self._slowness.add(champion.durations, challenger.durations)

    def next_stage(self) -> None:
        """The challenger has another share: whether it is safe has to be seen anew.

        That it is worse has been looked for all the time; were that begun anew too, every stage
        would be another chance to be wrong.
        """
        self._failures.next_stage()
        self._slowness.next_stage()

    def judge(self) -> Judgement:
        """As things stand."""
        failures, slowness, policy = self._failures, self._slowness, self._policy
        fewest = min(failures.compared, slowness.compared)
        if failures.compared >= policy.min_samples and failures.are_more(policy.alpha / 2):
            return Judgement(Verdict.ROLLBACK, failures.describe())
        if slowness.compared >= policy.min_samples and slowness.is_slower(policy.alpha / 2):
            return Judgement(Verdict.ROLLBACK, slowness.describe())
        if fewest < policy.min_samples:
            return Judgement(Verdict.HOLD, f"{fewest:.0f} of {policy.min_samples} batches compared")
        safety = failures.safety(policy.alpha), slowness.safety(policy.alpha)
        if min(safety) >= 1:
            return Judgement(Verdict.ADVANCE, "no worse than the champion")
        known = [int(100 * min(1.0, max(0.0, share))) for share in safety]
        return Judgement(
            Verdict.HOLD,
            f"of the evidence that it is no worse there is {known[0]}% for failures and "
            f"{known[1]}% for durations, of batches of sizes that both have",
        )
