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


def lasts(service: ServiceTime, samples: int) -> float:
    return service.batch + service.each * (samples - service.size)


MIXED = pytest.mark.parametrize("sizes", [[1] * 9 + [32], [1, 1, 32], [32, 32, 1], [2, 5, 9, 31]])


@MIXED
@pytest.mark.parametrize(("fixed", "each"), [(0.0, 0.01), (0.02, 0.001), (0.01, 0.0)])
def test_what_large_batches_take_is_known_however_few_of_them_there_are(sizes, fixed, each):
    service = after(*[(samples, fixed + each * samples) for samples in sizes * 20])
    for samples in sizes:
        assert lasts(service, samples) == pytest.approx(fixed + each * samples, rel=0.05)


@MIXED
@pytest.mark.parametrize("stalled", [1, 32])
def test_a_batch_that_stalls_once_changes_little_among_others_of_all_sizes(sizes, stalled):
    run = [(samples, 0.01 * samples) for samples in sizes * 20]
    service = after(*run, (stalled, 0.3 * stalled), *run[: len(sizes)])
    for samples in sizes:
        assert lasts(service, samples) == pytest.approx(0.01 * samples, rel=0.2, abs=0.015)


@MIXED
def test_batches_of_all_sizes_that_go_on_taking_longer_are_soon_believed(sizes):
    run = [(samples, 0.01 * samples) for samples in sizes * 20]
    service = after(*run, *[(samples, 0.05 * samples) for samples in sizes * 10])
    for samples in sizes:
        assert lasts(service, samples) > 2.5 * 0.01 * samples


@given(
    fixed=st.floats(0.0, 1.0),
    each=st.floats(0.0001, 0.1),
    sizes=st.lists(
        st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]), min_size=2, max_size=12
    ),
)
def test_batches_of_any_sizes_take_what_they_took_of_late(fixed, each, sizes):
    service = after(*[(samples, fixed + each * samples) for samples in sizes * 40])
    for samples in sizes:
        off = 2 * each if max(sizes) - min(sizes) < 8 else 0.0  # told apart from noise by much
        took = fixed + each * samples
        assert lasts(service, samples) == pytest.approx(took, rel=0.05, abs=off)
