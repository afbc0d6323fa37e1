"""The registry's history, written by machines whose clocks differ."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from mlflow.tracking import MlflowClient

from bundle.errors import ConflictError
from bundle.registry import ModelRegistry, Routing, record
from tests.tiny_bundle import image_parts

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """`ahead`: by how much the clock of whoever writes differs from this one's."""
    found = SimpleNamespace(ahead=timedelta())
    now = SimpleNamespace(now=lambda zone: datetime.now(zone) + found.ahead)
    now.fromtimestamp = datetime.fromtimestamp
    monkeypatch.setattr(record, "datetime", now)
    return found


@pytest.fixture
def four(tracking_uri, tmp_path) -> ModelRegistry:
    """Versions 1 to 4 of digits, of which 1 is champion."""
    path = image_parts().write(tmp_path / "bundle").path
    found = ModelRegistry(tracking_uri)
    for _ in range(4):
        found.register(path)
    return found


def promote_with_a_clock_that_steps_back(registry, clock) -> None:
    clock.ahead = timedelta(minutes=10)
    registry.promote("digits", 2)
    clock.ahead = timedelta()
    registry.promote("digits", 3)
    registry.promote("digits", 4)


def test_rollback_goes_one_step_back_when_an_earlier_writers_clock_was_ahead(four, clock):
    promote_with_a_clock_that_steps_back(four, clock)

    assert [four.rollback("digits").after.champion for _ in range(3)] == [3, 2, 1]


def test_history_is_in_the_order_of_what_was_done(four, clock):
    promote_with_a_clock_that_steps_back(four, clock)

    events = four.history("digits")[-3:]

    assert [event.after.champion for event in events] == [2, 3, 4]
    assert events[0].time > datetime.now(UTC) + timedelta(minutes=9)
    assert len({event.time for event in events}) == 3


def test_the_oldest_events_are_dropped_when_an_earlier_writers_clock_was_ahead(
    four, clock, monkeypatch
):
    monkeypatch.setattr(record, "MAX_EVENTS", 2)
    promote_with_a_clock_that_steps_back(four, clock)

    assert [event.after for event in four.history("digits")] == [
        Routing(champion=3),
        Routing(champion=4),
    ]


class Killed(BaseException):
    """No `except Exception` may see it, as none sees a SIGKILL."""


WRITES = (
    "set_registered_model_alias",
    "set_registered_model_tag",
    "delete_registered_model_tag",
)


def _die(patch, after: int) -> None:
    """At the write after so many."""
    left = iter(range(after))

    def dying(write):
        def die(*arguments):
            if next(left, None) is None:
                raise Killed
            return write(*arguments)

        return die

    for name in WRITES:
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))


BEGINNINGS = {
    "split": lambda registry: registry.split("digits", {1: 50, 2: 50}),
    "ramp": lambda registry: registry.ramp("digits", 2),
}


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_kill_at_any_write_leaves_a_history_that_is_true(four, begin, writes):
    BEGINNINGS[begin](four)
    before, known = four.routing("digits"), len(four.history("digits"))

    killed_after(writes, lambda: four.promote("digits", 3, who="key:boss"))

    changed = four.routing("digits") != before
    events = four.history("digits")
    assert len(events) == known + changed
    if changed:
        assert (events[-1].who, events[-1].action) == ("key:boss", "promote")
        assert (events[-1].before, events[-1].after) == (before, four.routing("digits"))
        assert four.rollback("digits").after == before.traffic
    four.promote("digits", 4)
    assert four.history("digits")[-1].after == Routing(champion=4)
    assert len(four.history("digits")) == known + 1 + 2 * changed


CHANGES = {
    "promote": lambda registry: registry.promote("digits", 4),
    "split": lambda registry: registry.split("digits", {3: 20, 4: 80}),
    "ramp": lambda registry: registry.ramp("digits", 4),
    "rollback": lambda registry: registry.rollback("digits"),
    "withdraw": lambda registry: registry.withdraw("digits", 4, who="guardrail"),
}


@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize("action", CHANGES)
def test_a_change_that_was_killed_is_brought_to_its_end_when_it_is_asked_for_again(
    four, action, writes
):
    four.promote("digits", 3)
    four.split("digits", {3: 50, 4: 50})
    if action == "rollback":
        four.promote("digits", 4)
    before, known = four.routing("digits"), len(four.history("digits"))

    if not killed_after(writes, lambda: CHANGES[action](four)):
        return
    with suppress(ConflictError):  # a ramp of which all is there but the mark that it is
        CHANGES[action](four)

    events, reached = four.history("digits"), four.routing("digits")
    assert len(events) == known + 1
    assert (events[-1].action, events[-1].before, events[-1].after) == (action, before, reached)
    if action in ("promote", "ramp"):
        assert four.rollback("digits").after == before.traffic
    elif action == "rollback":
        assert four.rollback("digits").after == Routing(champion=3)


@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize("seen", [1.0, 5.0, 25.0])
def test_a_ramp_goes_on_where_a_stage_was_killed_and_is_still_one_change(four, seen, writes):
    four.ramp("digits", 2)
    while four.routing("digits").shares[2] != seen:
        four.advance("digits", 2, seen=four.routing("digits").shares[2], who="ramp")

    killed_after(writes, lambda: four.advance("digits", 2, seen=seen, who="ramp"))

    half = four.routing("digits")
    assert four.rollback("digits", dry_run=True).after == Routing(champion=1)
    four.advance("digits", 2, seen=half.shares[2], who="ramp")
    reached = four.routing("digits")
    assert reached.ramp == 2 or reached == Routing(champion=2)
    assert reached.shares[2] > seen
    assert four.rollback("digits").after == Routing(champion=1)


def test_a_challenger_that_became_champion_meanwhile_can_be_withdrawn_too(four):
    four.ramp("digits", 2)
    while four.routing("digits").champion == 1:
        four.advance("digits", 2, seen=four.routing("digits").shares[2], who="ramp")
    assert four.withdraw("digits", 2, who="guardrail") is None
    assert four.withdraw("digits", 2, instead=1, who="guardrail").after == Routing(champion=1)
    assert four.withdraw("digits", 2, instead=1, who="guardrail") is None
    with pytest.raises(ConflictError, match="already withdrew version 2"):
        four.rollback("digits")


def test_a_registration_that_was_killed_tells_of_the_champion_that_it_made(tracking_uri, tmp_path):
    path = image_parts().write(tmp_path / "bundle").path
    found = ModelRegistry(tracking_uri)
    killed_after(3, lambda: found.register(path))
    assert found.routing("digits") == Routing(champion=1)
    [event] = found.history("digits")
    assert (event.action, event.before, event.after) == ("register", Routing(), Routing(champion=1))


def killed_after(writes: int, change: Callable[[], object]) -> bool:
    """Whether there were so many."""
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        _die(patch, writes)
        change()
        return False
    return True


def test_a_registration_is_told_by_the_number_that_it_made(four):
    assert [event.version for event in four.history("digits")] == [1, 2, 3, 4]
