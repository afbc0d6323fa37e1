"""The registry's history, written by machines whose clocks differ."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from bundle.registry import ModelRegistry, Routing, record
from tests.tiny_bundle import image_parts


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


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("begin", ["split", "ramp"])
def test_a_kill_at_any_write_leaves_a_history_that_is_true(four, begin, writes):
    if begin == "split":
        four.split("digits", {1: 50, 2: 50})
    else:
        four.ramp("digits", 2)
    before, known = four.routing("digits"), len(four.history("digits"))

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        _die(patch, writes)
        four.promote("digits", 3, who="key:boss")

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
