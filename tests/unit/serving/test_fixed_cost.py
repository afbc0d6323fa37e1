"""What a batch costs however few its samples are, from what batches took."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.fixed_cost import FEW, FixedCost


def after(batches: list[tuple[int, float]]) -> FixedCost:
    cost = FixedCost()
    for samples, seconds in batches:
        cost.measured(samples=samples, seconds=seconds)
    return cost


def test_few_batches_say_nothing_and_many_do():
    assert after([(4, 0.02)] * FEW).seconds == math.inf
    assert after([(4, 0.02)] * (FEW + 1)).seconds == pytest.approx(0.02)


@given(
    fixed=st.floats(0.0001, 1.0),
    each=st.floats(0.0, 0.1),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True),
)
def test_batches_of_several_sizes_tell_what_is_fixed_from_what_each_sample_takes(
    fixed, each, sizes
):
    batches = [(samples, fixed + each * samples) for samples in sizes] * (FEW + 1)
    assert after(batches).seconds == pytest.approx(fixed, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 2.0)), min_size=FEW + 1, max_size=80))
def test_whatever_batches_took_it_is_no_less_than_nothing_and_no_more_than_their_mean(batches):
    cost = after(batches)
    assert 0 <= cost.seconds <= max(seconds for _, seconds in batches) + 1e-9


def test_the_present_counts_more_than_the_past():
    slow = [(samples, 0.5) for samples in (1, 8)] * FEW
    assert after([*slow, *[(1, 0.01), (8, 0.01)] * 200]).seconds == pytest.approx(0.01, rel=0.1)


@given(
    fixed=st.floats(0.0001, 1.0),
    each=st.floats(0.0, 0.1),
    sizes=st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True),
)
def test_what_each_sample_takes_is_never_found_to_be_more_than_it_is(fixed, each, sizes):
    batches = [(samples, fixed + each * samples) for samples in sizes] * (FEW + 1)
    found = after(batches).each
    assert 0 <= found <= each + 1e-9
    if max(sizes) - min(sizes) > 8:
        assert found == pytest.approx(each, rel=0.02, abs=1e-6)


def test_nothing_is_concluded_of_samples_where_all_batches_have_as_many():
    assert after([(4, 0.02)] * 80).each == 0.0


def test_what_a_larger_batch_took_once_is_forgotten_where_none_is_as_large_afterwards():
    once = [(1, 0.1), (2, 0.3)]
    assert after(once).each > 0.1
    assert after([*once, *[(1, 0.1)] * 300]).each < 0.01


def test_a_large_batch_is_contradicted_by_a_few_others_where_it_is_the_only_one():
    once = [*[(1, 0.01)] * 50, (32, 0.3)]
    assert after(once).each == pytest.approx(0.29 / 31, rel=0.2)
    assert after([*once, *[(1, 0.01), (4, 0.01)] * 15]).each < 0.003
