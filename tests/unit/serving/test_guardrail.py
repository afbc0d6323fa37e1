"""The guardrail, on simulated traffic: right about good challengers, and quick about bad ones."""

from __future__ import annotations

import math
import re
from bisect import bisect_left

import numpy as np
import pytest

from serving.routing.guardrail import Guardrail, Policy, Verdict
from serving.routing.outcomes import EDGES, RATIO, Outcomes, Size
from serving.routing.slowness import Slowness
from serving.run import Run

POLICY = Policy()
RPS = 50
HOUR = 3600
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

    def serve(self, requests: int, *, load: float = 1.0) -> Outcomes:
        """Under a load all of them take so many times longer, and fail so many times more often."""
        failed = int(self.rng.binomial(requests, min(1.0, self.errors * load)))
        durations = np.roll(self.durations, round(math.log(load) / math.log(RATIO)))
        taken = self.rng.multinomial(requests - failed, durations)
        return Outcomes(
            float(requests - failed),
            float(failed),
            {ALONE: {int(entry): float(taken[entry]) for entry in taken.nonzero()[0]}},
        )


def run(seed: int, *, share: float, seconds: int, sigma: float = 0.35, good: int = 0, **challenger):
    """The seconds after which the challenger lost, or might have more traffic; None for neither.

    `sigma`: how far the durations of either are spread. `good`: for so many seconds before these
    the challenger is as the champion is, and must not lose.
    """
    rng = np.random.default_rng(seed)
    champion, same = Version(rng, sigma=sigma), Version(rng, sigma=sigma)
    other = Version(rng, sigma=sigma, **challenger)
    guardrail, advanced = Guardrail(POLICY), None
    for second in range(1 - good, seconds + 1):
        count = int(rng.binomial(RPS, share))
        asked = same if second <= 0 else other
        guardrail.add(champion.serve(RPS - count), asked.serve(count))
        verdict = guardrail.judge().verdict
        if verdict is Verdict.ROLLBACK:
            assert second > 0, "it was good"
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
    advanced = [run(seed, share=0.25, seconds=300)[1] for seed in range(10)]
    print(f"may advance after {np.mean([s or 999 for s in advanced]):.0f} s in the mean")
    assert all(second is not None for second in advanced)
    assert all(run(seed, share=0.25, seconds=300, errors=0.1)[1] is None for seed in range(10))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("worse", [{"median": 0.02}, {"errors": 0.2}])
def test_what_becomes_worse_after_an_hour_is_found_about_as_soon_as_what_is_worse_at_once(
    share, worse
):
    first, late = (
        [run(seed, share=share, seconds=120, good=good, **worse)[0] or 999 for seed in range(4)]
        for good in (0, HOUR)
    )
    print(f"{worse}, share {share:.0%}: {first} s at once, {late} s after an hour")
    assert np.mean(late) <= 4 * np.mean(first)
    assert max(late) <= 60


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_of_challengers_that_are_no_worse_one_percent_lose_at_most_through_all_stages_of_a_ramp():
    """250 s at each of 4 shares, with loads that come and go and slow both down. In each stage the
    same has been seen as in one that follows another, and yet there is one alpha for all of them.
    """
    runs, lost = 250, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        one, other, guardrail, load = Version(rng), Version(rng), Guardrail(POLICY), 1.0
        for second in range(1000):
            if second % 250 == 0:
                share = (0.01, 0.05, 0.25, 0.9)[second // 250]
                guardrail.next_stage()
            if rng.random() < 0.1:
                load = float(rng.choice([1.0, 1.0, 1.5, 2.0, 4.0]))
            count = int(rng.binomial(RPS, share))
            guardrail.add(one.serve(RPS - count, load=load), other.serve(count, load=load))
            if guardrail.judge().verdict is Verdict.ROLLBACK:
                lost += 1
                break
    print(f"{lost} of {runs} runs")
    assert lost <= runs // 100


def served(rng, champion: Version, challenger: Version, seconds: int, rps: int = RPS) -> Guardrail:
    """What is known after so many seconds in which either had half of the requests."""
    guardrail = Guardrail(POLICY)
    for _ in range(seconds):
        guardrail.add(champion.serve(rps // 2), challenger.serve(rps // 2))
    return guardrail


def test_what_speaks_against_a_challenger_does_so_in_the_next_stage_too():
    rng = np.random.default_rng(0)
    guardrail, stages = Guardrail(POLICY), 0
    while guardrail.judge().verdict is not Verdict.ROLLBACK:
        if stages:
            guardrail.next_stage()
        stages += 1
        for _ in range(2):
            guardrail.add(
                Version(rng).serve(POLICY.min_samples), Version(rng, errors=0.1).serve(20)
            )
    assert 1 < stages < 30


def test_what_spoke_for_a_challenger_does_not_in_the_next_stage():
    rng = np.random.default_rng(0)
    guardrail = served(rng, Version(rng), Version(rng), 300)
    assert guardrail.judge().verdict is Verdict.ADVANCE
    guardrail.next_stage()
    guardrail.add(Version(rng).serve(25), Version(rng).serve(25))
    assert guardrail.judge().verdict is Verdict.HOLD


def test_nothing_is_decided_on_few_samples():
    rng = np.random.default_rng(0)
    champion, other, guardrail = Version(rng), Version(rng, errors=1.0), Guardrail(POLICY)
    guardrail.add(champion.serve(1000), other.serve(POLICY.min_samples - 1))
    judgement = guardrail.judge()
    assert (judgement.verdict, judgement.reason) == (Verdict.HOLD, "0 of 20 batches compared")
    guardrail.add(champion.serve(1), other.serve(1))
    assert guardrail.judge().verdict is Verdict.ROLLBACK


def test_the_reason_says_how_many_failed_lately():
    rng = np.random.default_rng(0)
    guardrail = served(rng, Version(rng, errors=0.0), Version(rng, errors=0.0), 100)
    while guardrail.judge().verdict is not Verdict.ROLLBACK:
        guardrail.add(Version(rng, errors=0.0).serve(30), Version(rng, errors=1.0).serve(20))
    pattern = (
        r"of its batches' requests [1-9][\d.]*% fail in the mean, of the champion's 0.0% "
        r"\(the last 1\d{3} and 1\d{3} batches\)"
    )
    assert re.fullmatch(pattern, guardrail.judge().reason)


def test_the_reason_says_how_long_batches_of_which_size_took():
    guardrail = Guardrail(POLICY)
    for _ in range(30):
        guardrail.add(of_size(32, 0.1, 10), of_size(32, 0.2, 5))
    assert guardrail.judge().reason == (
        "the 95th percentile of its batches of 31 to 34 samples is 202 ms, that of the champion's "
        "102 ms (the last 100 and 300)"
    )


@pytest.mark.parametrize("status", [400, 404, 413, 429, 499, 503, 504])
def test_sheds_client_errors_and_deadlines_do_not_count(status):
    outcomes = Outcomes()
    outcomes.record(status, [Run(1.0)])
    assert outcomes == Outcomes()


def test_a_failure_counts():
    outcomes = Outcomes()
    outcomes.record(500, [])
    assert (outcomes.failed, outcomes.count) == (1, 1)
    assert not outcomes.durations


def test_a_batch_counts_once_however_many_requests_it_holds():
    """Eight of them fail."""
    outcomes = Outcomes()
    for number in range(32):
        outcomes.record(500 if number < 8 else 200, [Run(0.02, samples=32, share=1 / 32)])
    assert (outcomes.failed, outcomes.ok) == (0.25, 0.75)
    [taken] = outcomes.durations.values()
    assert taken == {bisect_left(EDGES, 0.02): 0.75}


TEN = [Run(0.02, samples=4, share=0.25)] * 10
"""Parts of one request."""


@pytest.mark.parametrize(
    ("status", "runs", "ok", "failed"),
    [
        (200, TEN, 2.5, 0.0),
        (500, [*TEN[:9], TEN[0]._replace(failed=True)], 2.25, 0.25),
        (500, [run._replace(failed=True) for run in TEN], 0.0, 2.5),
        (500, TEN, 0.0, 2.5),  # no sense could be made of what they answered
    ],
)
def test_a_request_in_ten_parts_counts_as_what_these_have_of_their_batches(
    status, runs, ok, failed
):
    outcomes = Outcomes()
    outcomes.record(status, runs)
    assert (outcomes.ok, outcomes.failed) == (ok, failed)


def test_a_request_in_ten_parts_that_are_all_overdue_counts_as_much():
    outcomes = Outcomes()
    for run in TEN:
        outcomes.overdue(run.share)
    assert (outcomes.ok, outcomes.failed) == (0.0, 2.5)


def test_a_crashed_batch_is_one_failure_and_decides_nothing():
    guardrail, crashed = Guardrail(POLICY), Outcomes()
    rng = np.random.default_rng(0)
    for _ in range(64):
        crashed.record(500, [Run(0.02, samples=64, share=1 / 64)])
    assert crashed.failed == pytest.approx(1.0)
    guardrail.add(Version(rng, errors=0.0).serve(1000), crashed)
    assert guardrail.judge().verdict is Verdict.HOLD


def test_a_version_that_hangs_is_caught_though_nothing_else_runs_meanwhile():
    """A batch of 16 each time."""
    guardrail, rng = Guardrail(POLICY), np.random.default_rng(0)
    for _ in range(POLICY.min_samples):
        hangs = Outcomes()
        for _ in range(16):
            hangs.overdue(1 / 16)
        guardrail.add(Version(rng).serve(20), Outcomes())
        guardrail.add(Outcomes(), hangs)
    assert guardrail.judge().verdict is Verdict.ROLLBACK


def of_size(samples: int, seconds: float, batches: int) -> Outcomes:
    outcomes = Outcomes()
    for _ in range(batches):
        outcomes.record(200, [Run(seconds, samples=samples)])
    return outcomes


def test_batches_of_other_sizes_say_nothing_of_the_challenger():
    guardrail = Guardrail(POLICY)
    for _ in range(20):
        guardrail.add(of_size(1, 0.01, 50), of_size(32, 0.3, 50))
    assert guardrail.judge().verdict is Verdict.HOLD


def test_a_challenger_that_takes_twice_as_long_is_found_in_the_size_that_both_have():
    guardrail = Guardrail(POLICY)
    for _ in range(60):
        champion, challenger = of_size(16, 0.1, 20), of_size(1, 0.02, 5)
        champion.add(of_size(1, 0.01, 3))
        guardrail.add(champion, challenger)
    judgement = guardrail.judge()
    assert judgement.verdict is Verdict.ROLLBACK
    assert "batches of 1 sample is" in judgement.reason


def test_load_that_slows_both_down_for_a_while_is_no_evidence():
    """Batches take four times as long in every other ten seconds, in which few run."""
    guardrail = Guardrail(POLICY)
    for second in range(300):
        slow = second // 10 % 2
        one, other = (18, 2) if slow else (10, 40)
        seconds = 0.04 if slow else 0.01
        guardrail.add(of_size(1, seconds, one), of_size(1, seconds, other))
        assert guardrail.judge().verdict is not Verdict.ROLLBACK


def test_what_only_one_of_them_ran_under_load_is_not_compared_with_what_ran_later():
    """A minute in which all takes twice as long: full batches of the champion, small ones of the
    challenger.
    """
    guardrail = Guardrail(POLICY)
    for second in range(80):
        busy = 10 <= second < 70
        champion = of_size(32, 0.2, 20) if busy else of_size(1, 0.01, 20)
        guardrail.add(champion, of_size(1, 0.02 if busy else 0.01, 20))
        assert guardrail.judge().verdict is not Verdict.ROLLBACK, second


def test_requests_that_fail_in_both_for_a_while_are_no_evidence():
    guardrail, rng = Guardrail(POLICY), np.random.default_rng(0)
    for second in range(300):
        failing = Version(rng, errors=0.8 if second % 60 < 5 else 0.0)
        shares = (10, 40) if second % 60 < 5 else (40, 10)
        guardrail.add(*(failing.serve(count) for count in shares))
        assert guardrail.judge().verdict is not Verdict.ROLLBACK


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


def test_the_reason_tells_how_much_evidence_is_there_until_all_of_it_is():
    guardrail, seen = Guardrail(POLICY), []
    while guardrail.judge().verdict is not Verdict.ADVANCE:
        guardrail.add(of_size(1, 0.01, 20), of_size(1, 0.01, 2))
        found = re.search(r"(\d+)% for failures and (\d+)% for durations", guardrail.judge().reason)
        seen += [tuple(map(int, found.groups()))] if found else []
    assert min(seen) == seen[0]
    assert all(min(pair) < 100 for pair in seen)
    assert max(max(pair) for pair in seen) <= 100
    assert len({*seen}) > 5
