"""How long batches take, by those that have run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service_time import ServiceTime


def after(*batches: tuple[int, float]) -> ServiceTime:
    service = ServiceTime()
    for samples, seconds in batches:
        service.measured(samples=samples, seconds=seconds)
    return service


def test_nothing_is_known_before_a_batch_has_run():
    service = ServiceTime()
    assert (service.batch, service.size, service.each, service.saves) == (0, 0, 0, math.inf)


def test_a_batch_that_stalls_once_changes_nothing():
    assert after(*[(4, 0.1)] * 3, (4, 9.0), *[(4, 0.1)] * 3).batch == pytest.approx(0.1)


def test_batches_that_go_on_taking_longer_are_soon_believed():
    assert after(*[(4, 0.1)] * 50, *[(4, 0.5)] * 10).batch == pytest.approx(0.5, rel=0.2)


def test_a_first_batch_that_took_long_is_soon_forgotten():
    assert after((1, 3.0), *[(1, 0.01)] * 9).batch < 0.5


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.001, 9.0)), min_size=1, max_size=80))
def test_whatever_batches_took_they_take_no_more_than_the_longest(batches):
    service = after(*batches)
    assert service.batch <= max(seconds for _, seconds in batches) + 1e-9
    assert 1 - 1e-9 <= service.size <= max(samples for samples, _ in batches) + 1e-9
    assert 0 <= service.each * service.size <= service.batch + 1e-9
