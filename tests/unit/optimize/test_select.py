from __future__ import annotations

from dataclasses import replace

import pytest

from optimize.select import Standing, choose, pareto
from optimize.timing import Timing


def timing(milliseconds: float) -> Timing:
    return Timing(
        p50_ms=milliseconds,
        p99_ms=2 * milliseconds,
        samples_per_second=1e3 / milliseconds,
        speedup=1 / milliseconds,
        low=1 / milliseconds,
        high=1 / milliseconds,
        calls=1,
    )


def standing(name, *, ms=None, agreement=1.0, size=100, certified=True) -> Standing:
    return Standing(
        name=name,
        certified=certified,
        agreement=agreement,
        bytes=size,
        timings=None if ms is None else {1: timing(ms)},
        speed=None if ms is None else 1 / ms,
    )


def chosen(*standings, margin=0.1):
    return choose(standings, fallback="fp32", margin=margin)


def test_fastest_certified_variant_is_chosen():
    choice = chosen(
        standing("fp32", ms=4),
        standing("int8", ms=1, agreement=0.99),
        standing("int4", ms=0.5, agreement=0.9, certified=False),
    )
    assert choice.name == "int8"
    assert choice.reason == "the fastest certified variant"


def test_what_was_certified_and_not_timed_is_told_beside_the_choice():
    choice = chosen(standing("fp32", ms=4), standing("int8", ms=1), standing("fp16"))
    assert choice.name == "int8"
    assert choice.reason == "the fastest certified variant; fp16 had no ratio to be chosen by"


@pytest.mark.parametrize("milliseconds", [0.95, 1.0, 1.05])
def test_choice_does_not_hang_on_noise_between_two_measurements(milliseconds):
    choice = chosen(
        standing("fp32", ms=4),
        standing("one", ms=1, agreement=0.99),
        standing("other", ms=milliseconds, agreement=0.995),
    )
    assert choice.name == "other"
    assert "as fast as one within 10%" in choice.reason


def test_smaller_one_is_chosen_when_two_are_as_fast_and_as_faithful():
    choice = chosen(standing("large", ms=1.0, size=20), standing("small", ms=1.02, size=10))
    assert choice.name == "small"


def test_fp32_stays_when_nothing_was_timed_or_certified():
    assert chosen(standing("fp32"), standing("int8")).reason == "nothing was timed"
    nothing = chosen(standing("fp32", ms=2, certified=False))
    assert (nothing.name, nothing.reason) == ("fp32", "nothing is certified")


def test_frontier_has_what_nothing_else_beats_in_everything():
    assert pareto(
        [
            standing("fp32", ms=4, size=100),
            standing("int8", ms=1, agreement=0.99, size=25),
            standing("worse", ms=2, agreement=0.98, size=30),
            standing("faithful", ms=2, agreement=0.995, size=30),
            standing("untimed"),
            standing("unknown", ms=0.1, agreement=None),
        ]
    ) == {"fp32", "int8", "faithful"}


@pytest.mark.parametrize(("known", "frontier"), [(True, {"one", "two"}), (False, {"one"})])
def test_frontier_goes_by_tails_where_they_are_known(known, frontier):
    def tail(name, milliseconds, p99_ms):
        timings = {1: replace(timing(milliseconds), p99_ms=p99_ms if known else None)}
        return replace(standing(name, ms=1), timings=timings)

    assert pareto([tail("one", 1.0, 3.0), tail("two", 1.1, 2.0)]) == frontier


def test_frontier_has_no_baseline_for_its_bare_weights_alone():
    file = standing("fp32", ms=1, size=110)
    weights = replace(standing("torch fp32", ms=4, size=100), shipped=False)
    assert pareto([file, weights]) == {"fp32"}


def test_choice_does_not_call_the_only_one_the_fastest():
    assert chosen(standing("fp32", ms=2)).reason == "the only certified variant that was timed"


def test_frontier_keeps_equals():
    assert pareto([standing("one", ms=1), standing("two", ms=1)]) == {"one", "two"}
