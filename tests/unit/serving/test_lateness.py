"""How forecasts turn out, and what that leaves to allow for."""

from __future__ import annotations

import pytest

from serving.lateness import DEVIATIONS, Lateness


def after(*errors: float) -> Lateness:
    lateness = Lateness()
    for error in errors:
        lateness.measured(foretold=10.0, done=10.0 + error)
    return lateness


def test_nothing_is_allowed_for_before_a_forecast_was_wrong():
    assert Lateness().margin == 0.0
    assert after(*[0.0] * 50).margin == 0.0


def test_what_is_always_late_by_as_much_is_allowed_for():
    assert after(*[0.2] * 400).margin == pytest.approx(0.2, rel=0.01)


def test_what_comes_out_now_sooner_now_later_needs_a_margin_too():
    assert after(*[-0.1, 0.1] * 200).margin == pytest.approx(DEVIATIONS * 0.1, rel=0.1)


def test_what_is_done_sooner_than_foretold_takes_nothing_off():
    assert after(*[-0.3] * 400).margin == 0.0


def test_the_present_counts_more_than_the_past():
    assert after(*[1.0] * 100, *[0.0] * 200).margin < 0.01


def stalled(times: int, *, usual: float) -> float:
    """The margin after as many errors of a second, where nothing had been late before."""
    lateness = after(*[0.0] * 50)
    for _ in range(times):
        lateness.measured(foretold=10.0, done=11.0, usual=usual)
    return lateness.margin


def test_what_strays_far_once_counts_as_no_more_than_usual():
    assert stalled(1, usual=0.01) == pytest.approx(stalled(1, usual=1.0) / 100)


def test_what_goes_on_to_stray_far_is_allowed_for():
    assert stalled(100, usual=0.01) > 1.0
