from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from optimize.tables import unmeasured
from optimize.timing import ROUNDS as ENOUGH
from optimize.timing import Contest, bootstrap_interval, summarize

MS = 1_000_000
ROUNDS = [10, 20, 40]  # the machine slows down from round to round
TURNS = {
    "torch": {1: [[4 * slow * MS] * 3 for slow in ROUNDS], 8: [[8 * slow * MS] for slow in ROUNDS]},
    "int8": {1: [[2 * slow * MS] * 5 for slow in ROUNDS], 8: [[slow * MS] for slow in ROUNDS]},
}


def contest() -> Contest:
    return Contest(
        threads=1,
        rounds=3,
        baseline="torch",
        timings=summarize(TURNS, baseline="torch"),
        failed={"broken": "EngineError: no"},
        load={"others": 0.1},
    )


def test_ratio_is_that_within_a_round_and_so_knows_no_drift():
    timing = contest().timings["int8"][1]
    assert timing.speedup == pytest.approx(2.0)
    assert contest().timings["torch"][1].speedup == 1.0


@pytest.mark.parametrize("rounds", [1, 5, 6])
def test_interval_is_there_when_there_are_rounds_enough_to_have_one(rounds):
    turns = {"torch": {1: [[4 * MS]] * rounds}, "int8": {1: [[2 * MS]] * rounds}}
    timing = summarize(turns, baseline="torch")["int8"][1]
    assert timing.speedup == 2.0
    assert (timing.low, timing.high) == ((2.0, 2.0) if rounds >= ENOUGH else (None, None))


def test_what_has_no_times_or_no_ratio_says_why():
    timings = summarize(TURNS, baseline="torch", apart={"int8"})
    found = dataclasses.replace(contest(), timings=timings, apart={"int8": "it runs elsewhere"})
    assert timings["int8"][1].p50_ms == pytest.approx(40.0)
    assert timings["int8"][1].speedup is None
    assert (found.speed("int8"), found.speed("torch")) == (None, 1.0)
    assert Contest.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    candidates = [
        SimpleNamespace(name="fp32", graph="a graph", assessment="its answers"),
        SimpleNamespace(name="int4", graph="a graph", assessment=None),
        SimpleNamespace(name="int2", graph=None, assessment=None),
    ]
    assert unmeasured(SimpleNamespace(contest=found, candidates=candidates)) == [
        "int4 was not timed: it could not be run",
        "int2 was not timed: it could not be made",
        "broken was not timed: EngineError: no",
        "int8 has no ratio: it runs elsewhere",
    ]
    assert unmeasured(SimpleNamespace(contest=None, candidates=candidates)) == []


def test_times_are_of_all_calls():
    timing = contest().timings["int8"][1]
    assert timing.calls == 15
    assert timing.p50_ms == pytest.approx(40.0)
    assert timing.p99_ms is None
    assert timing.samples_per_second == pytest.approx(1e3 / np.mean([20, 40, 80]))
    assert contest().timings["int8"][8].samples_per_second == pytest.approx(
        8e3 / np.mean([10, 20, 40])
    )


def test_tail_is_told_when_a_hundred_calls_have_one():
    for calls, expected in ((99, None), (100, pytest.approx(5.0))):
        turns = {"torch": {1: [[5 * MS] * calls]}}
        assert summarize(turns, baseline="torch")["torch"][1].p99_ms == expected


def test_speed_is_the_geometric_mean_over_batch_sizes():
    assert contest().speed("int8") == pytest.approx(4.0)
    assert contest().speed("broken") is None


def test_contest_survives_its_own_json():
    assert Contest.from_dict(json.loads(json.dumps(contest().to_dict()))) == contest()


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        low, high = bootstrap_interval(generator.normal(2.0, 0.1, size=15))
        covered.append(low <= 2.0 <= high)
    assert np.mean(covered) > 0.85
