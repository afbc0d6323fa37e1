"""Whose request goes to which version, here and in the registry alike."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bundle.registry.routing import Routing
from bundle.shares import check_shares
from bundle.uri import Resolved
from serving.routing.split import Split
from serving.routing.wanted import Route, Wanted


@st.composite
def split_routings(draw):
    """Of up to five versions; the champion may be none of them."""
    cuts = draw(st.sets(st.integers(1, 9_999), max_size=4))
    ends = [0, *sorted(cuts), 10_000]
    numbers = draw(st.permutations(range(1, 7)))
    parts = [(end - start) / 100 for start, end in pairwise(ends)]
    split = check_shares(dict(zip(numbers, parts, strict=False)))
    return Routing(champion=draw(st.none() | st.integers(1, 6)), split=split)


def split_of(routing: Routing) -> Split:
    return Split.of(routing.shares, champion=routing.champion)


def wanted(routing: Routing) -> Wanted:
    source = Resolved(name="m", version="1", path=Path("/m"), bare=False)
    route = Route(name="m", salt="m", split=split_of(routing))
    return Wanted(uri="models:/m", sources=(source,), route=route)


@given(split_routings())
def test_buckets_are_shared_out_exactly_as_the_registry_says(routing):
    shares = {int(version): share for version, share in split_of(routing).shares.items()}
    assert shares == routing.shares


@given(split_routings(), st.integers(1, 6))
def test_a_version_that_is_withdrawn_leaves_the_same_here_and_in_the_registry(routing, number):
    after = routing.without(number) or routing
    assert wanted(routing).withdrawing({str(number)}).route == wanted(after).route
