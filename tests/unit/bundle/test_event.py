"""Events as the registry keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ManifestError
from bundle.registry.event import ACTIONS, Event, read_events
from bundle.registry.routing import Routing


@given(
    st.builds(
        Event,
        time=st.datetimes(timezones=st.just(UTC)),
        who=st.text(st.characters(exclude_categories=["Cs"])),
        action=st.sampled_from(ACTIONS),
        before=st.builds(Routing, champion=st.none() | st.integers(1)),
        after=st.builds(
            Routing,
            champion=st.integers(1),
            split=st.dictionaries(st.integers(1, 10**18 - 1), st.floats(0, 100)),
        ),
        version=st.none() | st.integers(1, 10**9),
        pending=st.booleans(),
    )
)
def test_event_survives_its_json(event):
    assert Event.from_json(json.dumps(event.to_dict())) == event


def event(action="promote", *, who="me", seconds=0):
    time = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    routing = Routing(champion=1)
    return Event(time=time, who=who, action=action, before=routing, after=routing)


def test_events_come_in_the_order_of_time_and_unreadable_ones_are_left_out():
    found = [event(seconds=seconds) for seconds in range(3)]
    texts = [json.dumps(one.to_dict()) for one in found]

    assert read_events([texts[2], "{", texts[0], "[]", texts[1]], now=Routing) == found


def test_what_the_guardrail_once_kept_as_a_rollback_is_read_as_a_withdrawal():
    kept = [event("rollback", who="guardrail"), event("rollback", who="me", seconds=1)]

    found = read_events([json.dumps(one.to_dict()) for one in kept], now=Routing)

    assert [one.action for one in found] == ["withdraw", "rollback"]


@pytest.mark.parametrize("text", ['{"time": "yesterday"}', "{}", "7"])
def test_unreadable_event_is_a_manifest_error(text):
    with pytest.raises(ManifestError):
        Event.from_json(text)
