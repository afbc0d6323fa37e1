"""Which batches are known to be brief."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.brevity import BRIEF_SECONDS, MOST_GROUPS, Brevity

RUNS = st.lists(st.tuples(st.integers(1, 64), st.booleans()))


@given(RUNS, st.integers(1, 128))
def test_nothing_is_brief_that_is_larger_than_all_that_was(runs, tokens):
    brevity = Brevity()
    for size, brief in runs:
        brevity.measured("g", size, BRIEF_SECONDS * (0.5 if brief else 2))
    largest = max((size for size, brief in runs if brief), default=0)
    assert brevity.known("g", 0)
    assert not brevity.known("g", largest + tokens)
    assert not brevity.known("other", tokens)


@given(RUNS, st.integers(1, 64), st.integers(0, 64))
def test_what_took_long_last_is_not_known_to_be_brief_nor_what_is_larger(runs, size, more):
    brevity = Brevity()
    for ran, brief in runs:
        brevity.measured("g", ran, BRIEF_SECONDS * (0.5 if brief else 2))
    brevity.measured("g", size, 2 * BRIEF_SECONDS)
    known = brevity.known("g", size)
    assert not known
    assert not brevity.known("g", size + more)


def test_one_stall_is_made_good_by_the_next_batch():
    brevity = Brevity()
    brevity.measured("g", 8, BRIEF_SECONDS)
    brevity.measured("g", 6, 1.0)
    assert (brevity.known("g", 3), brevity.known("g", 4)) == (True, False)
    brevity.measured("g", 7, BRIEF_SECONDS)
    assert brevity.known("g", 7)


def test_of_shapes_without_end_some_are_remembered():
    brevity = Brevity()
    for group in range(3 * MOST_GROUPS):
        brevity.measured(group, 1, BRIEF_SECONDS)
        assert brevity.known(group, 1)
    assert len(brevity._most) <= MOST_GROUPS
