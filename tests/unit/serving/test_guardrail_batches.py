"""The guardrail on batches as a worker forms them: of the version with more traffic they are
larger, their time grows with their size, and what happens to a batch happens to all its requests.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from serving.routing.guardrail import Guardrail, Policy, Verdict
from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes
from serving.routing.sentry import Sentry
from serving.run import Run
from tests.observed import settled_split

POLICY = Policy()
BATCH_SIZE = 32
SPREAD = 0.35
FAILURES, CRASHES = 0.01, 0.002
"""Of requests by themselves, and of whole batches."""


CALM_SECONDS, BURST_SECONDS = 4.0, 0.7
"""In the mean, of a machine that is busy now and then: three times as many requests come, and
every batch takes up to twice as long."""


def batches(
    seed: int,
    *,
    runs: int,
    share: float,
    seconds: int,
    slower: float = 1.0,
    most_rps: int = 900,
    bursts: bool = False,
):
    """What one worker of each run sees, by (run, second): the batches of champion and challenger.

    A batch of n takes 4 + n milliseconds, times `slower` of the challenger; either is spread by a
    log-normal. Runs have between 200 and `most_rps` requests a second, of which `share` are the
    challenger's; from 800 on the worker is overloaded. With `bursts` the mean is the same.
    """
    rng = np.random.default_rng(seed)
    often = CALM_SECONDS + BURST_SECONDS
    usual = often / (CALM_SECONDS + 3 * BURST_SECONDS) if bursts else 1.0
    rates = usual * rng.uniform(200, most_rps, runs)[:, None] * np.array([1 - share, share])
    every = np.arange(runs)
    clock, waiting, since = np.zeros(runs), np.zeros((runs, 2), int), np.zeros((runs, 2))
    busy, heavier = np.zeros(runs, bool), rng.uniform(1, 2, runs)
    change = rng.exponential(CALM_SECONDS, runs) if bursts else np.full(runs, np.inf)
    seen = defaultdict(lambda: ([], []))
    while clock.min() < seconds:
        over = clock >= change
        busy ^= over
        change[over] = clock[over] + rng.exponential(
            np.where(busy, BURST_SECONDS, CALM_SECONDS)[over]
        )
        now = rates * np.where(busy, 3.0, 1.0)[:, None]  # (runs, 2)
        idle = ~waiting.any(axis=1)
        clock[idle] += rng.exponential(1 / now[idle].sum(axis=1))
        waiting[idle, (rng.random(idle.sum()) < share).astype(int)] = 1
        version = np.where(waiting > 0, since, np.inf).argmin(axis=1)  # who has waited longest
        size = np.minimum(waiting[every, version], BATCH_SIZE)
        spread = np.exp(SPREAD * rng.normal(size=runs)) * np.where(busy, heavier, 1.0)
        took = (0.004 + 0.001 * size) * spread * np.where(version == 1, slower, 1.0)
        failed = rng.binomial(size, FAILURES)
        failed = np.where(rng.random(runs) < CRASHES, size, failed)
        clock += took
        waiting[every, version] -= size
        arrived = rng.poisson(now * took[:, None])
        first = (waiting == 0) & (arrived > 0)
        since[first] = np.repeat(clock, 2).reshape(runs, 2)[first]
        since[every, version] = clock
        waiting += arrived
        for one in np.flatnonzero(clock < seconds).tolist():
            batch = float(took[one]), int(size[one]), int(failed[one])
            seen[one, int(clock[one])][version[one]].append(batch)
    return seen


def outcomes_of(ran, *, part: float = 1.0) -> Outcomes:
    """Of these batches; `part`: how much of each."""
    outcomes = Outcomes()
    for took, size, failed in ran:
        outcomes.failed += part * failed / size
        if failed < size:
            share = part * (1 - failed / size)
            outcomes.record(200, [Run(took, samples=size, share=share)])
    return outcomes


def rolled_back(seen, run: int, seconds: int) -> int | None:
    """The second after which the challenger lost its traffic; looks as often as the server does."""
    guardrail = Guardrail(POLICY)
    for second in range(seconds):
        guardrail.add(*map(outcomes_of, seen[run, second]))
        if guardrail.judge().verdict is Verdict.ROLLBACK:
            return second + 1
    return None


def found_by_sentry(seen, run: int, seconds: int, *, processes: int) -> int | None:
    """The same, where each batch has requests of so many API processes."""
    sentry = Sentry(POLICY)
    sentry.settled(settled_split({1: 50.0, 2: 50.0}))
    for second in range(seconds):
        for _ in range(processes):
            one, other = (outcomes_of(ran, part=1 / processes) for ran in seen[run, second])
            sentry.observed(Observed({("m", "1"): one, ("m", "2"): other}, second + 1))
        sentry.observed(Observed({}, second + 2))
        if any(found.judgement.verdict is Verdict.ROLLBACK for found in sentry.findings()):
            return second + 1
    return None


def count_rolled_back(*, runs: int, share: float, seconds: int, bursts: bool) -> int:
    seen = batches(0, runs=runs, share=share, seconds=seconds, bursts=bursts)
    found = [rolled_back(seen, run, seconds) for run in range(runs)]
    lost = sum(second is not None for second in found)
    print(f"share {share:.0%}, {bursts=}: {lost} of {runs} A/A runs of {seconds} s rolled back")
    return lost


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("bursts", [False, True])
def test_at_most_one_percent_of_challengers_that_are_no_worse_are_rolled_back(share, bursts):
    runs = 334
    lost = count_rolled_back(runs=runs, share=share, seconds=300, bursts=bursts)
    assert lost <= runs // 100


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("bursts", [False, True])
def test_challengers_that_are_no_worse_keep_their_traffic_for_a_minute(share, bursts):
    assert count_rolled_back(runs=40, share=share, seconds=60, bursts=bursts) == 0


@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_two_api_processes_that_share_each_batch_tell_what_one_would(slower):
    runs, seconds = 4, 60
    seen = batches(3, runs=runs, share=0.2, seconds=seconds, slower=slower, most_rps=600)
    found = [
        [found_by_sentry(seen, run, seconds, processes=processes) for run in range(runs)]
        for processes in (1, 2)
    ]
    assert found[0] == found[1]
    assert found[0] == [rolled_back(seen, run, seconds) for run in range(runs)]
    assert all((second is None) == (slower == 1.0) for second in found[0])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_challenger_that_takes_twice_as_long_is_found_though_its_batches_are_smaller(share):
    """Where the worker is not so busy that sizes that both have are rare."""
    runs, seconds = 10, 90
    seen = batches(1, runs=runs, share=share, seconds=seconds, slower=2.0, most_rps=600)
    found = [rolled_back(seen, run, seconds) for run in range(runs)]
    print(f"share {share:.0%}: found after {found} s")
    assert all(second is not None for second in found)


def test_the_simulation_gives_the_version_with_more_traffic_the_larger_batches():
    sizes = [[], []]
    for ran in batches(2, runs=4, share=0.1, seconds=20).values():
        for version in (0, 1):
            sizes[version] += [size for _, size, _ in ran[version]]
    assert np.mean(sizes[0]) > 1.5 * np.mean(sizes[1])


def test_the_simulation_has_bursts_in_which_more_comes_and_takes_longer():
    spread = []
    for bursts in (False, True):
        seen = batches(4, runs=8, share=0.5, seconds=60, most_rps=400, bursts=bursts)
        ran = [[one for both in seen[run, second] for one in both] for run, second in seen]
        spread.append(np.std([sum(size for _, size, _ in tick) for tick in ran]))
        large, small = ([took for tick in ran for took, size, _ in tick if (size > 8) == big]
                        for big in (True, False))  # fmt: skip
        assert np.mean(large) > np.mean(small)
    assert spread[1] > 1.2 * spread[0]
