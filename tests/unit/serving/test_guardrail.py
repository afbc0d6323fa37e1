"""The guardrail, on simulated traffic: right about good challengers, and quick about bad ones."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import pytest

from serving.routing.guardrail import Policy, Verdict, judge
from serving.routing.outcomes import EDGES, Outcomes, Size
from serving.routing.slowness import Slowness
from serving.run import Run

POLICY = Policy()
RPS = 50
ALONE = Size.of(Run(0.0))


def histogram(median: float, sigma: float = 0.35) -> np.ndarray:
    """Probabilities of a log-normal duration by entry of `Outcomes.durations`."""
    below = [
        0.5 * (1 + math.erf(math.log(edge / median) / (sigma * math.sqrt(2)))) for edge in EDGES
    ]
    return np.diff([0.0, *below, 1.0])


class Version:
    """Simulated traffic of one version, whose requests run alone."""

    def __init__(
        self, rng, *, errors: float = 0.01, median: float = 0.01, sigma: float = 0.35
    ) -> None:
        self.rng, self.errors, self.durations = rng, errors, histogram(median, sigma)

    def serve(self, requests: int) -> Outcomes:
        failed = int(self.rng.binomial(requests, self.errors))
        taken = self.rng.multinomial(requests - failed, self.durations)
        durations = {ALONE: {int(entry): float(taken[entry]) for entry in taken.nonzero()[0]}}
        return Outcomes(requests, float(requests - failed), float(failed), durations)


class Trial:
    """What is known of champion and challenger."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.champion, self.challenger = Outcomes(), Outcomes()
        self.slowness = Slowness(ratio=policy.p95_ratio, safe_ratio=policy.advance_p95_ratio)

    def saw(self, champion: Outcomes, challenger: Outcomes) -> None:
        self.champion.add(champion)
        self.challenger.add(challenger)
        self.slowness.add(champion.durations, challenger.durations)

    def judge(self):
        return judge(self.champion, self.challenger, self.slowness, self.policy)


def run(seed: int, *, share: float, seconds: int, sigma: float = 0.35, **challenger):
    """The seconds after which the challenger lost, or might have more traffic; None for neither.

    `sigma`: how far the durations of either are spread.
    """
    rng = np.random.default_rng(seed)
    champion, other = Version(rng, sigma=sigma), Version(rng, sigma=sigma, **challenger)
    trial = Trial()
    advanced = None
    for second in range(1, seconds + 1):
        count = int(rng.binomial(RPS, share))
        trial.saw(champion.serve(RPS - count), other.serve(count))
        verdict = trial.judge().verdict
        if verdict is Verdict.ROLLBACK:
            return second, advanced
        if verdict is Verdict.ADVANCE and advanced is None:
            advanced = second
    return None, advanced


@pytest.mark.slow
def test_a_challenger_that_is_as_slow_as_is_allowed_is_hardly_ever_rolled_back():
    slow = 0.01 * POLICY.p95_ratio
    lost = [run(seed, share=0.5, seconds=600, median=slow)[0] for seed in range(100)]
    print(f"{sum(second is not None for second in lost)} of 100 rolled back")
    assert sum(second is not None for second in lost) <= 1


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_a_fifth_of_failures_at_50_rps_is_found_within_a_minute(share):
    found = [run(seed, share=share, seconds=60, errors=0.2)[0] for seed in range(50)]
    print(f"share {share:.0%}: after {np.mean([f or 99 for f in found]):.0f} s in the mean")
    assert all(second is not None for second in found)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(("sigma", "seconds"), [(0.2, 30), (0.35, 30), (0.7, 120)])
def test_a_challenger_that_takes_twice_as_long_is_found(share, sigma, seconds):
    """Of durations of which two thirds are within 20, 40 and 100 percent of the median."""
    found = [
        run(seed, share=share, seconds=seconds, sigma=sigma, median=0.02)[0] for seed in range(30)
    ]
    took = [second or 999 for second in found]
    print(f"share {share:.0%}, spread {sigma}: {np.mean(took):.0f} s in the mean, {max(took)} most")
    assert all(second is not None for second in found)


def test_a_challenger_that_is_no_worse_may_advance_and_a_worse_one_never():
    advanced = [run(seed, share=0.25, seconds=900)[1] for seed in range(20)]
    print(f"may advance after {np.mean([s or 999 for s in advanced]):.0f} s in the mean")
    assert all(second is not None for second in advanced)
    assert all(run(seed, share=0.25, seconds=300, errors=0.1)[1] is None for seed in range(20))


def test_nothing_is_decided_on_few_samples():
    rng = np.random.default_rng(0)
    champion, other = Version(rng), Version(rng, errors=1.0)
    trial = Trial()
    trial.saw(champion.serve(1000), other.serve(POLICY.min_samples - 1))
    assert trial.judge().verdict is Verdict.HOLD
    trial.saw(Outcomes(), other.serve(1))
    judgement = trial.judge()
    assert judgement.verdict is Verdict.ROLLBACK
    assert "fail" in judgement.reason


@pytest.mark.parametrize("status", [400, 404, 413, 429, 499, 503, 504])
def test_sheds_client_errors_and_deadlines_do_not_count(status):
    outcomes = Outcomes()
    outcomes.record(status, [Run(1.0)])
    assert outcomes == Outcomes()


def test_a_failure_counts():
    outcomes = Outcomes()
    outcomes.record(500, [])
    assert (outcomes.failed, outcomes.count, outcomes.requests) == (1, 1, 1)
    assert not outcomes.durations


def test_a_batch_counts_once_however_many_requests_it_holds():
    """Eight of them fail."""
    outcomes = Outcomes()
    for number in range(32):
        outcomes.record(500 if number < 8 else 200, [Run(0.02, samples=32, share=1 / 32)])
    assert (outcomes.requests, outcomes.failed, outcomes.ok) == (32, 0.25, 0.75)
    [taken] = outcomes.durations.values()
    assert taken == {bisect_left(EDGES, 0.02): 0.75}


def test_a_crashed_batch_is_one_failure_and_decides_nothing():
    trial, crashed = Trial(), Outcomes()
    rng = np.random.default_rng(0)
    for _ in range(64):
        crashed.record(500, [Run(0.02, samples=64, share=1 / 64)])
    trial.saw(Version(rng, errors=0.0).serve(1000), crashed)
    assert trial.challenger.failed == pytest.approx(1.0)
    assert trial.judge().verdict is Verdict.HOLD


def test_a_version_that_hangs_is_caught():
    trial, hangs = Trial(), Outcomes()
    rng = np.random.default_rng(0)
    for _ in range(4):  # batches
        for _ in range(16):
            hangs.overdue(1 / 16)
    trial.saw(Version(rng).serve(1000), hangs)
    assert trial.judge().verdict is Verdict.ROLLBACK


def of_size(samples: int, seconds: float, batches: int) -> Outcomes:
    outcomes = Outcomes()
    for _ in range(batches):
        outcomes.record(200, [Run(seconds, samples=samples)])
    return outcomes


def test_batches_of_other_sizes_say_nothing_of_the_challenger():
    trial = Trial()
    for _ in range(20):
        trial.saw(of_size(1, 0.01, 50), of_size(32, 0.3, 50))
    assert trial.judge().verdict is Verdict.HOLD


def test_a_challenger_that_takes_twice_as_long_is_found_in_the_size_that_both_have():
    trial = Trial()
    for _ in range(60):
        champion, challenger = of_size(16, 0.1, 20), of_size(1, 0.02, 5)
        champion.add(of_size(1, 0.01, 3))
        trial.saw(champion, challenger)
    judgement = trial.judge()
    assert judgement.verdict is Verdict.ROLLBACK
    assert "percentile" in judgement.reason


def test_load_that_slows_both_down_for_a_while_is_no_evidence():
    """Batches take four times as long in every other ten seconds, in which few run."""
    trial = Trial()
    for second in range(300):
        slow = second // 10 % 2
        one, other = (18, 2) if slow else (10, 40)
        seconds = 0.04 if slow else 0.01
        trial.saw(of_size(1, seconds, one), of_size(1, seconds, other))
        assert trial.judge().verdict is not Verdict.ROLLBACK


def test_a_version_is_hardly_ever_found_slower_wrongly_however_often_one_looks():
    """At a level of 5 %, where it is easiest: both percentiles are edges of the histogram, as far
    apart as edges can be that may belong to no larger a ratio.
    """
    alpha, runs, champion, challenger = 0.05, 300, EDGES[70], EDGES[76]
    to_median = math.exp(0.35 * 1.644854)
    wrong = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        one, other = (
            Version(rng, errors=0.0, median=p95 / to_median) for p95 in (champion, challenger)
        )
        slowness = Slowness(ratio=1.3, safe_ratio=2.0)
        for _ in range(40):
            slowness.add(one.serve(25).durations, other.serve(25).durations)
            if slowness.is_slower(alpha):
                wrong += 1
                break
    print(f"{wrong} of {runs} runs")
    assert wrong <= runs * alpha + 3 * math.sqrt(runs * alpha * (1 - alpha))


def test_durations_are_counted_at_their_edges():
    outcomes = Outcomes()
    for seconds in (0.0, EDGES[0], EDGES[-1], 1e6):
        outcomes.record(200, [Run(seconds)])
    assert outcomes.durations == {ALONE: {0: 2.0, len(EDGES) - 1: 1.0, len(EDGES): 1.0}}
