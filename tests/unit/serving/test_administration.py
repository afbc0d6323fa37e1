"""What admins ask for, done to the registry only as long as they wait for it."""

from __future__ import annotations

import logging
import math
import time

import pytest

from serving.line_limit import MOST_LINES_A_SECOND
from serving.logs import AUDIT
from serving.routing.administration import Administration, RefusedChanges, registry_actions
from serving.routing.messages import Call, Result


class Registry:
    """Counts how often it is changed."""

    def __init__(self) -> None:
        self.changed = 0

    def rollback(self, name, **_):
        self.changed += 1
        raise AssertionError("a real one answers with an event")

    promote = split = ramp = shadow = rollback


@pytest.mark.parametrize("action", ["rollback", "list"])
def test_what_nobody_waits_for_any_more_is_not_done(action):
    registry = Registry()
    call = Call(1, action, "boss", "r", model="digits", expires=time.monotonic() - 0.001)
    result = Administration(registry_actions(registry)).answer(call)
    assert (result.id, result.status) == (1, 504)
    assert "nothing was done" in result.document["message"]
    assert registry.changed == 0


def test_what_is_waited_for_is_done():
    registry = Registry()
    for expires in (math.inf, time.monotonic() + 60):
        with pytest.raises(AssertionError, match="event"):
            Administration(registry_actions(registry)).answer(
                Call(1, "rollback", "boss", "r", expires=expires)
            )
    assert registry.changed == 2


@pytest.mark.parametrize(
    ("call", "status", "changed"),
    [
        (Call(1, "promote", "boss", "r"), 200, True),
        (Call(1, "promote", "boss", "r"), 503, True),
        (Call(1, "promote", "boss", "r"), 409, False),
        (Call(1, "promote", "boss", "r"), 504, False),
        (Call(1, "promote", "boss", "r", arguments={"dry_run": True}), 200, False),
        (Call(1, "list", "boss", "r"), 200, False),
    ],
)
def test_the_registry_is_looked_at_after_what_may_have_changed_it(call, status, changed):
    assert Administration.changed(call, Result(1, 0, status, {})) == changed


def test_a_flood_of_refused_changes_is_written_down_in_a_few_lines(caplog, monkeypatch):
    caplog.set_level(logging.INFO, AUDIT)
    now = [100.0]
    monkeypatch.setattr("serving.line_limit.time.monotonic", lambda: now[0])
    refused = RefusedChanges()

    def ask():
        refused.write_down(principal="", request_id="a", path="/admin", status=401, reason="no key")

    for _ in range(MOST_LINES_A_SECOND + 5):
        ask()
    assert len(caplog.records) == MOST_LINES_A_SECOND
    now[0] += 1
    ask()
    assert caplog.records[-1].fields["left_out"] == 5
