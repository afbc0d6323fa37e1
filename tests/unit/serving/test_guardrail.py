"""The guardrail, on simulated traffic: right about good challengers, and quick about bad ones."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import pytest

from serving.routing.guardrail import (
    Policy,
    Verdict,
    judge,
    percentile_bounds,
)
from serving.routing.outcomes import EDGES, Outcomes
from serving.routing.slowness import is_slower

POLICY = Policy()
RPS = 50


def histogram(median: float, sigma: float = 0.35) -> np.ndarray:
    """Probabilities of a log-normal duration by entry of `Outcomes.slower`."""
    below = [
        0.5 * (1 + math.erf(math.log(edge / median) / (sigma * math.sqrt(2)))) for edge in EDGES
    ]
    return np.diff([0.0, *below, 1.0])


class Version:
    """Simulated traffic of one version."""

    def __init__(
        self, rng, *, errors: float = 0.01, median: float = 0.01, sigma: float = 0.35
    ) -> None:
        self.rng, self.errors, self.durations = rng, errors, histogram(median, sigma)
        self.outcomes = Outcomes()

    def serve(self, requests: int) -> None:
        failed = int(self.rng.binomial(requests, self.errors))
        slower = self.rng.multinomial(requests - failed, self.durations)
        self.outcomes.add(Outcomes(requests - failed, failed, slower.tolist()))


def run(seed: int, *, share: float, seconds: int, look: int = 1, sigma: float = 0.35, **challenger):
    """The seconds after which the challenger lost, or might have more traffic; None for neither.

    `sigma`: how far the durations of either are spread.
    """
    rng = np.random.default_rng(seed)
    champion, other = Version(rng, sigma=sigma), Version(rng, sigma=sigma, **challenger)
    advanced = None
    for second in range(look, seconds + 1, look):
        count = int(rng.binomial(RPS * look, share))
        other.serve(count)
        champion.serve(RPS * look - count)
        verdict = judge(champion.outcomes, other.outcomes, POLICY).verdict
        if verdict is Verdict.ROLLBACK:
            return second, advanced
        if verdict is Verdict.ADVANCE and advanced is None:
            advanced = second
    return None, advanced


@pytest.mark.slow
def test_at_most_one_percent_of_challengers_that_are_no_worse_are_rolled_back():
    lost = [run(seed, share=0.2, seconds=600, look=30)[0] for seed in range(1000)]
    print(f"{sum(second is not None for second in lost)} of 1,000 A/A runs rolled back")
    assert sum(second is not None for second in lost) <= 10


@pytest.mark.slow
def test_a_challenger_that_is_as_slow_as_is_allowed_is_hardly_ever_rolled_back():
    slow = 0.01 * POLICY.p95_ratio
    lost = [run(seed, share=0.5, seconds=600, look=10, median=slow)[0] for seed in range(100)]
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
    advanced = [run(seed, share=0.25, seconds=900, look=10)[1] for seed in range(20)]
    print(f"may advance after {np.mean([s or 999 for s in advanced]):.0f} s in the mean")
    assert all(second is not None for second in advanced)
    assert all(
        run(seed, share=0.25, seconds=300, look=10, errors=0.1)[1] is None for seed in range(20)
    )


def test_nothing_is_decided_on_few_samples():
    rng = np.random.default_rng(0)
    champion, other = Version(rng), Version(rng, errors=1.0)
    champion.serve(1000)
    other.serve(POLICY.min_samples - 1)
    assert judge(champion.outcomes, other.outcomes, POLICY).verdict is Verdict.HOLD
    other.serve(1)
    judgement = judge(champion.outcomes, other.outcomes, POLICY)
    assert judgement.verdict is Verdict.ROLLBACK
    assert "fail" in judgement.reason


@pytest.mark.parametrize("status", [400, 404, 413, 429, 499, 503])
def test_sheds_and_client_errors_do_not_count(status):
    outcomes = Outcomes()
    outcomes.record(status, 1.0)
    assert outcomes == Outcomes()


@pytest.mark.parametrize("status", [500, 504])
def test_failures_of_the_version_count(status):
    outcomes = Outcomes()
    outcomes.record(status, 1.0)
    assert (outcomes.failed, outcomes.count, sum(outcomes.slower)) == (1, 1, 0)


def test_the_bounds_hold_the_true_percentile():
    rng = np.random.default_rng(3)
    version = Version(rng, errors=0.0)
    version.serve(5000)
    true = 0.01 * math.exp(0.35 * 1.6449)
    low, high = percentile_bounds(version.outcomes, 1e-4)
    assert low < true < high
    assert high / low < 1.5
    assert percentile_bounds(Outcomes(), 1e-4) == (0.0, math.inf)


def test_the_bounds_hold_at_every_look():
    """Each is wrong at any time with a probability of at most alpha, here 5 %, where it is easiest:
    the true percentile is an edge of the histogram, and counts as wrong already.
    """
    alpha, runs, true = 0.05, 300, EDGES[70]
    median = true / math.exp(0.35 * 1.644854)
    wrong = [0, 0]
    for seed in range(runs):
        version = Version(np.random.default_rng(seed), errors=0.0, median=median)
        bounds = []
        for _ in range(40):
            version.serve(25)
            bounds.append(percentile_bounds(version.outcomes, alpha))
        wrong[0] += any(low >= true for low, _ in bounds)
        wrong[1] += any(high <= true for _, high in bounds)
    print(f"of {runs} runs the lower bound was wrong in {wrong[0]}, the upper one in {wrong[1]}")
    assert max(wrong) <= runs * alpha + 3 * math.sqrt(runs * alpha * (1 - alpha))


def test_a_version_is_hardly_ever_found_slower_wrongly_however_often_one_looks():
    """At a level of 5 %, where it is easiest: both percentiles are edges of the histogram, as far
    apart as edges can be that may belong to no larger a ratio.
    """
    alpha, runs, champion, challenger = 0.05, 300, EDGES[70], EDGES[77]
    to_median = math.exp(0.35 * 1.644854)
    wrong = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        one, other = (
            Version(rng, errors=0.0, median=p95 / to_median) for p95 in (champion, challenger)
        )
        for _ in range(40):
            one.serve(25)
            other.serve(25)
            if is_slower(other.outcomes, one.outcomes, ratio=1.3, alpha=alpha):
                wrong += 1
                break
    print(f"{wrong} of {runs} runs")
    assert wrong <= runs * alpha + 3 * math.sqrt(runs * alpha * (1 - alpha))


def test_durations_are_counted_at_their_edges():
    outcomes = Outcomes()
    for seconds in (0.0, EDGES[0], EDGES[-1], 1e6):
        outcomes.record(200, seconds)
    assert outcomes.slower[0] == 2
    assert outcomes.slower[bisect_left(EDGES, EDGES[-1])] == 1
    assert outcomes.slower[-1] == 1
