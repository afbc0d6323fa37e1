"""When what waits will have run, by what is known of a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.forecast import APART, STALE, Forecast

MODEL = ("m", "1")


def after(*batches: tuple[int, float]) -> Forecast:
    forecast = Forecast(delay=0.01, target=None)
    for samples, seconds in batches:
        forecast.measured(MODEL, samples=samples, seconds=seconds)
    return forecast


def test_samples_that_join_a_batch_take_nothing_where_batches_take_the_same():
    outlook = after(*[(1, 0.1), (8, 0.1)] * 20).outlook(MODEL)
    assert [outlook.takes(samples, 1) for samples in (1, 8, 32)] == pytest.approx([0.1] * 3)
    assert outlook.takes(33, 2) == pytest.approx(0.2)


def test_samples_that_join_a_batch_take_what_each_of_them_does():
    outlook = after(*[(2, 0.2), (4, 0.4)] * 20).outlook(MODEL)
    assert outlook.lasts(1) == pytest.approx(0.1, abs=0.02)
    assert outlook.takes(16, 1) == pytest.approx(1.6, rel=0.1)


def test_a_batch_that_waits_grows_to_what_they_are_by_those_who_come_until_it_runs():
    outlook = after(*[(2, 0.2), (4, 0.4)] * 20).outlook(MODEL)
    assert outlook.takes(1, 1) == outlook.batch
    assert outlook.takes(1, 1) > outlook.lasts(1)


def test_where_all_batches_had_one_size_larger_ones_are_tried():
    assert after(*[(1, 0.1)] * 9).outlook(MODEL).takes(8, 1) == pytest.approx(0.1)


@given(
    batches=st.lists(st.tuples(st.integers(1, 32), st.floats(0.001, 2.0)), min_size=1, max_size=40),
    samples=st.integers(1, 200),
    count=st.integers(1, 20),
)
def test_whatever_has_run_more_of_it_takes_no_less(batches, samples, count):
    outlook = after(*batches).outlook(MODEL)
    assert 0 < outlook.batch <= outlook.takes(samples, 1)
    assert outlook.takes(samples, count) <= outlook.takes(samples + 1, count)
    assert outlook.takes(samples, count) <= outlook.takes(samples, count + 1) + 1e-9


def test_a_pace_is_known_where_batches_take_hardly_more_than_their_samples():
    [by_samples, *others] = [
        after(*[(samples, fixed + each * samples) for samples in (1, 9)] * 20).outlook(MODEL).pace
        for fixed, each in ((0.0, 0.1), (0.5, 0.1), (0.5, 0.0))
    ]
    assert by_samples == pytest.approx((0.0, 0.1), abs=0.01)
    assert others == [None, None]
    assert after((4, 0.1)).outlook(MODEL).pace is None


def test_what_is_new_changes_the_outlook():
    forecast = after((1, 0.1))
    early = forecast.outlook(MODEL)
    forecast.missed(MODEL, foretold=[1.0, 2.0], done=1.6)
    assert forecast.outlook(MODEL).margin > early.margin
    forecast.measured(MODEL, samples=1, seconds=0.05)
    assert forecast.outlook(MODEL).batch < early.batch


@pytest.mark.parametrize("batch", [0.01, 3.0])
def test_a_model_is_tried_again_after_a_while_in_which_nothing_was_learned_of_it(batch):
    forecast = after((1, batch))
    assert not forecast.tries(MODEL, 50.0)  # nobody has been foretold anything
    forecast.missed(MODEL, foretold=[100.0], done=100.0)
    pause = max(STALE, APART * batch)
    found = [forecast.tries(MODEL, 100.0 + share * pause) for share in (0.9, 1.1, 2.0, 2.2)]
    assert found == [False, True, False, True]
