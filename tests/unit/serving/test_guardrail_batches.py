"""The guardrail on batches as a worker forms them: of the version with more traffic they are
larger, their time grows with their size, and what happens to a batch happens to all its requests.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from serving.routing.guardrail import Policy, Verdict, judge
from serving.routing.outcomes import Outcomes
from serving.routing.slowness import Slowness
from serving.run import Run

POLICY = Policy()
BATCH_SIZE = 32
SPREAD = 0.35
FAILURES, CRASHES = 0.01, 0.002
"""Of requests by themselves, and of whole batches."""


def batches(
    seed: int, *, runs: int, share: float, seconds: int, slower: float = 1.0, most_rps: int = 900
):
    """What one worker of each run sees, by (run, second): the outcomes of champion and challenger.

    A batch of n takes 4 + n milliseconds, times `slower` of the challenger; either is spread by a
    log-normal. Runs have between 200 and `most_rps` requests a second, of which `share` are the
    challenger's; from 800 on the worker is overloaded.
    """
    rng = np.random.default_rng(seed)
    rates = rng.uniform(200, most_rps, runs)[:, None] * np.array([1 - share, share])  # (runs, 2)
    every = np.arange(runs)
    clock, waiting, since = np.zeros(runs), np.zeros((runs, 2), int), np.zeros((runs, 2))
    seen = defaultdict(lambda: (Outcomes(), Outcomes()))
    while clock.min() < seconds:
        idle = ~waiting.any(axis=1)
        clock[idle] += rng.exponential(1 / rates[idle].sum(axis=1))
        waiting[idle, (rng.random(idle.sum()) < share).astype(int)] = 1
        version = np.where(waiting > 0, since, np.inf).argmin(axis=1)  # who has waited longest
        size = np.minimum(waiting[every, version], BATCH_SIZE)
        spread = np.exp(SPREAD * rng.normal(size=runs))
        took = (0.004 + 0.001 * size) * spread * np.where(version == 1, slower, 1.0)
        failed = rng.binomial(size, FAILURES)
        failed = np.where(rng.random(runs) < CRASHES, size, failed)
        clock += took
        waiting[every, version] -= size
        arrived = rng.poisson(rates * took[:, None])
        first = (waiting == 0) & (arrived > 0)
        since[first] = np.repeat(clock, 2).reshape(runs, 2)[first]
        since[every, version] = clock
        waiting += arrived
        for one in np.flatnonzero(clock < seconds).tolist():
            outcomes = seen[one, int(clock[one])][version[one]]
            outcomes.requests += int(size[one])
            outcomes.failed += failed[one] / size[one]
            answered = Run(float(took[one]), samples=int(size[one]))
            outcomes.record(200, [answered._replace(share=1 - failed[one] / size[one])])
    return seen


def rolled_back(seen, run: int, seconds: int) -> int | None:
    """The second after which the challenger lost its traffic; looks as often as the server does."""
    champion, challenger = Outcomes(), Outcomes()
    slowness = Slowness(ratio=POLICY.p95_ratio, safe_ratio=POLICY.advance_p95_ratio)
    for second in range(seconds):
        one, other = seen[run, second]
        champion.add(one)
        challenger.add(other)
        slowness.add(one.durations, other.durations)
        if judge(champion, challenger, slowness, POLICY).verdict is Verdict.ROLLBACK:
            return second + 1
    return None


def count_rolled_back(*, runs: int, share: float, seconds: int) -> int:
    seen = batches(0, runs=runs, share=share, seconds=seconds)
    found = [rolled_back(seen, run, seconds) for run in range(runs)]
    lost = sum(second is not None for second in found)
    print(f"share {share:.0%}: {lost} of {runs} A/A runs of {seconds} s rolled back")
    return lost


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_at_most_one_percent_of_challengers_that_are_no_worse_are_rolled_back(share):
    runs = 334
    assert count_rolled_back(runs=runs, share=share, seconds=300) <= runs // 100


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_challengers_that_are_no_worse_keep_their_traffic_for_a_minute(share):
    assert count_rolled_back(runs=40, share=share, seconds=60) == 0


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_challenger_that_takes_twice_as_long_is_found_though_its_batches_are_smaller(share):
    """Where the worker is not so busy that sizes that both have are rare."""
    runs, seconds = 10, 90
    seen = batches(1, runs=runs, share=share, seconds=seconds, slower=2.0, most_rps=600)
    found = [rolled_back(seen, run, seconds) for run in range(runs)]
    print(f"share {share:.0%}: found after {found} s")
    assert all(second is not None for second in found)


def test_the_simulation_gives_the_version_with_more_traffic_the_larger_batches():
    seen = batches(2, runs=4, share=0.1, seconds=20)
    champion, challenger = Outcomes(), Outcomes()
    for one, other in seen.values():
        champion.add(one)
        challenger.add(other)
    assert champion.requests / champion.count > 1.5 * challenger.requests / challenger.count
