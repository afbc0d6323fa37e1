"""Shares of the traffic: what is taken for them, and who has what a version loses."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bundle.errors import RequestError
from bundle.shares import LEAST, check_shares, reference, withdrawn


@pytest.mark.parametrize("shares", [{1: 100}, {1: 90, 2: 10}, {1: 33.3, 2: 33.3, 3: 33.4}])
def test_shares_that_sum_to_100_are_accepted(shares):
    assert check_shares(shares) == shares


def test_shares_of_nothing_are_left_out():
    assert check_shares({2: 100, 1: 0}) == {2: 100}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({}, "sum to 0"),
        ({1: 50}, "sum to 50"),
        ({1: 50, 2: 51}, "sum to 101"),
        ({1: 110, 2: -10}, "version 1 has a share of 110"),
        ({1: float("nan")}, "share of nan"),
        ({1: float("inf")}, "share of inf"),
        ({1: 50, 2: 49.9999999}, "sum to 99.9999999 percent"),
    ],
)
def test_shares_that_do_not_sum_to_100_are_refused(shares, message):
    with pytest.raises(RequestError, match=message):
        check_shares(shares)


@pytest.mark.parametrize("shares", [{1: 110, 2: -10}, {1: 0.001, 2: 99.999}])
def test_a_wrong_share_is_told_as_the_field_that_it_is(shares):
    with pytest.raises(RequestError) as found:
        check_shares(shares)
    assert found.value.field == "shares.1"


@pytest.mark.parametrize(
    ("given_shares", "kept"),
    [
        ({1: 33.33, 2: 33.33, 3: 33.34}, {1: 33.33, 2: 33.33, 3: 33.34}),
        ({1: 33.3333, 2: 33.3333, 3: 33.3334}, {1: 33.33, 2: 33.33, 3: 33.34}),
        ({1: 33.333, 2: 33.333, 3: 33.334}, {1: 33.33, 2: 33.33, 3: 33.34}),
        ({1: 0.015, 2: 0.015, 3: 99.97}, {1: 0.02, 2: 0.01, 3: 99.97}),
        ({1: 100 / 3, 2: 100 / 3, 3: 100 / 3}, {1: 33.34, 2: 33.33, 3: 33.33}),
    ],
)
def test_shares_are_kept_in_hundredths(given_shares, kept):
    assert check_shares(given_shares) == kept


@st.composite
def any_shares(draw):
    """Of up to six versions, as fine as floats can be."""
    weights = draw(st.lists(st.floats(1e-3, 1), min_size=1, max_size=6))
    shares = {number: 100 * (weight / sum(weights)) for number, weight in enumerate(weights, 1)}
    assume(all(share >= LEAST for share in shares.values()))
    return shares


@given(any_shares())
def test_every_share_is_kept_to_a_hundredth_and_none_is_lost(shares):
    kept = check_shares(shares)
    hundredths = {number: round(share * 100) for number, share in kept.items()}

    assert kept == {number: part / 100 for number, part in hundredths.items()}
    assert sum(hundredths.values()) == 10_000
    assert all(abs(kept[number] - share) < 0.01 + 1e-6 for number, share in shares.items())
    assert min(hundredths.values()) >= 1
    assert check_shares(kept) == kept


@pytest.mark.parametrize(
    ("versions", "champion", "found"),
    [([1, 2], 2, 2), ([3, 2], 1, 2), ([3, 2], None, 2), ([], 1, None), ([], None, None)],
)
def test_others_are_compared_with_the_champion_or_else_the_lowest_number(versions, champion, found):
    assert reference(versions, champion) == found


@given(any_shares())
def test_what_all_others_lose_the_reference_has(shares):
    left = check_shares(shares)
    heir = reference(left, None)
    for number in sorted(left)[1:]:
        left = withdrawn(left, number, heir=heir)
        assert check_shares(left) == left
    assert left == {heir: 100.0}
