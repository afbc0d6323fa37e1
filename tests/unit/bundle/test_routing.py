from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ManifestError, RequestError
from bundle.registry.routing import (
    Event,
    Routing,
    check_shares,
    previous_routing,
    read_events,
)

SPLITS = st.dictionaries(st.integers(1), st.floats(0, 100))
START = datetime(2025, 1, 1, tzinfo=UTC)


class Story:
    """The events of a model, as the registry would keep them."""

    def __init__(self):
        self.events = []
        self.now = Routing()

    def go(self, action, after):
        time = START + timedelta(seconds=len(self.events))
        event = Event(time=time, who="me", action=action, before=self.now, after=after)
        self.events.append(event)
        self.now = after
        return self

    def rollback(self, existing=range(100)):
        previous = previous_routing(self.events, self.now, list(existing))
        assert previous is not None
        return self.go("rollback", previous)


def champion(number, **split):
    return Routing(champion=number, split={int(key[1:]): share for key, share in split.items()})


def story(*routings):
    found = Story().go("register", routings[0])
    for routing in routings[1:]:
        found.go("split" if routing.split else "promote", routing)
    return found


def test_rollback_returns_to_the_previous_champion():
    assert story(champion(1), champion(2)).rollback().now == champion(1)


def test_rollback_again_goes_further_back():
    assert story(champion(1), champion(2), champion(3)).rollback().rollback().now == champion(1)


def test_rollback_undoes_a_split_before_a_promotion():
    found = story(champion(1), champion(2), champion(2, v2=90, v3=10)).rollback()

    assert found.now == champion(2)
    assert found.rollback().now == champion(1)


def test_rollback_restores_a_split():
    split = champion(1, v1=50, v2=50)

    assert story(champion(1), split, champion(2)).rollback().now == split


def test_promotion_after_a_rollback_is_undone_by_the_next_one():
    found = story(champion(1), champion(2)).rollback().go("promote", champion(3)).rollback()

    assert found.now == champion(1)


@pytest.mark.parametrize(
    "found", [Story(), story(champion(1)), story(champion(1), champion(2)).rollback()]
)
def test_there_is_nothing_before_the_first_champion(found):
    assert previous_routing(found.events, found.now, range(9)) is None


def test_rollback_passes_over_versions_that_are_gone():
    found = story(champion(1), champion(2), champion(3)).rollback(existing=[1, 3])

    assert found.now == champion(1)
    assert previous_routing(found.events, found.now, [1, 3]) is None


def test_rollback_undoes_what_was_changed_behind_the_history():
    found = story(champion(1), champion(2))

    assert previous_routing(found.events, champion(7), range(9)) == champion(2)


@given(st.lists(st.integers(1, 5) | st.none(), max_size=12))
def test_rollbacks_walk_back_as_on_a_stack(steps):
    found, stack = story(champion(1)), [1]
    for step in steps:
        if step is None:
            if len(stack) > 1:
                stack.pop()
                found.rollback()
            else:
                assert previous_routing(found.events, found.now, range(9)) is None
        elif step != stack[-1]:
            stack.append(step)
            found.go("promote", champion(step))
        assert found.now == champion(stack[-1])


@given(
    st.builds(
        Event,
        time=st.datetimes(timezones=st.just(UTC)),
        who=st.text(st.characters(exclude_categories=["Cs"])),
        action=st.sampled_from(["register", "promote", "split", "rollback"]),
        before=st.builds(Routing, champion=st.none() | st.integers(1)),
        after=st.builds(
            Routing,
            champion=st.integers(1),
            split=st.dictionaries(st.integers(1), st.floats(0, 100)),
        ),
    )
)
def test_event_survives_its_json(event):
    assert Event.from_json(json.dumps(event.to_dict())) == event


def test_events_come_in_the_order_of_time_and_unreadable_ones_are_left_out():
    found = story(champion(1), champion(2), champion(3))
    texts = [json.dumps(event.to_dict()) for event in found.events]

    assert read_events([texts[2], "{", texts[0], "[]", texts[1]]) == found.events


@pytest.mark.parametrize("text", ['{"time": "yesterday"}', "{}", "7"])
def test_unreadable_event_is_a_manifest_error(text):
    with pytest.raises(ManifestError):
        Event.from_json(text)


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
    ],
)
def test_shares_that_do_not_sum_to_100_are_refused(shares, message):
    with pytest.raises(RequestError, match=message):
        check_shares(shares)


def test_traffic_is_the_champions_unless_it_is_split():
    assert Routing().shares == {}
    assert champion(3).shares == {3: 100.0}
    assert champion(3, v1=100).shares == {1: 100}
    assert champion(3, v1=60, v2=40).versions == {1, 2, 3}
