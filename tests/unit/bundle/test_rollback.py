"""What a rollback goes back to, whatever was done before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ConflictError
from bundle.registry.event import Event
from bundle.registry.ramp import advanced, first_stage
from bundle.registry.rollback import previous_routing
from bundle.registry.routing import Routing

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

    def ramp(self, number):
        """To its next stage, be it the first one."""
        stage = self.now.shares.get(number, 0.0) if self.now.ramp == number else 0.0
        after = advanced(self.now, number, seen=stage) or first_stage("m", number, self.now)
        return self.go("promote" if after.champion == number else "ramp", after)

    def withdraw(self, number):
        after = self.now.without(number)
        assert after is not None
        return self.go("withdraw", after)

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


def test_rollback_goes_on_after_what_was_changed_behind_the_history_was_undone():
    found = story(champion(1), champion(2))
    found.now = champion(7)

    assert found.rollback().now == champion(2)
    assert found.rollback().now == champion(1)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_rollback_undoes_a_whole_ramp_whatever_stage_it_is_at(stages):
    before = champion(1, v1=99.5, v2=0.5)
    found = story(champion(9), champion(1), before)
    for _ in range(stages):
        found.ramp(2)

    assert found.rollback().now == before
    assert found.rollback().now == champion(1)


def test_rollback_undoes_a_ramp_with_the_promotion_that_somebody_ends_it_by():
    found = story(champion(1)).ramp(2).ramp(2).go("promote", champion(2))

    assert found.rollback().now == champion(1)


@pytest.mark.parametrize(
    "after", [champion(3), champion(1), champion(1, v1=50, v2=50), champion(1, v2=100)]
)
def test_what_somebody_does_in_the_middle_of_a_ramp_is_a_change_of_its_own(after):
    found = story(champion(1)).ramp(2).ramp(2).go("split" if after.split else "promote", after)

    assert found.rollback().now == champion(1, v1=95, v2=5)
    assert found.rollback().now == champion(1)


def test_rollback_ends_a_ramp_whose_first_stage_was_there_before():
    before = champion(1, v1=99, v2=1)
    found = story(champion(1), before).ramp(2)

    assert found.rollback().now == before
    assert found.rollback().now == champion(1)


def test_rollback_of_a_split_in_three_goes_before_it_though_a_part_was_withdrawn():
    split = champion(1, v1=50, v2=30, v3=20)
    found = story(champion(9), champion(1), split).withdraw(2)

    assert found.rollback().now == champion(1)
    assert found.rollback().now == champion(9)


@pytest.mark.parametrize(
    "found",
    [
        story(champion(9), champion(1), champion(1, v1=90, v2=10)).withdraw(2),
        story(champion(9), champion(1), champion(1, v1=60, v2=30, v3=10)).withdraw(3).withdraw(2),
        story(champion(9), champion(1)).ramp(2).ramp(2).withdraw(2),
        story(champion(9), champion(1), champion(1, v1=90, v2=10))
        .withdraw(2)
        .go("promote", champion(3))
        .rollback(),
    ],
    ids=["split", "both", "ramp", "later"],
)
def test_rollback_is_refused_when_the_guardrail_was_first(found):
    with pytest.raises(ConflictError, match=r"already withdrew version 2 at 2025-01-01 00:00:0"):
        previous_routing(found.events, found.now, range(100))


def test_rollback_never_brings_back_what_was_withdrawn_since():
    found = story(champion(1), champion(2), champion(1), champion(1, v1=50, v2=30, v3=20))

    found.withdraw(2).rollback()
    assert found.now == champion(1)
    assert previous_routing(found.events, found.now, range(100)) is None


def test_rollback_brings_back_what_was_withdrawn_and_then_given_traffic_again():
    again = champion(1, v1=50, v2=50)
    found = story(champion(1), champion(1, v1=90, v2=10)).withdraw(2)

    found.go("split", again).go("promote", champion(3)).rollback()
    assert found.now == again
    assert found.rollback().now == champion(1)


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
