"""What the probes say in each part of an API process's life."""

from __future__ import annotations

import json
import logging

from serving.drain import DrainPlan, Lifecycle
from serving.logs import JsonLines


def state(lifecycle: Lifecycle) -> tuple[str, bool, bool]:
    return lifecycle.status, lifecycle.started, lifecycle.ready


def test_lifecycle_is_starting_until_all_workers_are_there():
    lifecycle = Lifecycle(expected_workers=2)
    assert state(lifecycle) == ("starting", False, False)
    lifecycle.update(workers=1)
    assert state(lifecycle) == ("starting", False, False)
    lifecycle.update(workers=2)
    assert state(lifecycle) == ("ready", True, True)


def test_lifecycle_of_a_replaced_process_starts_with_any_worker():
    lifecycle = Lifecycle(expected_workers=2, first=False)
    assert state(lifecycle) == ("starting", False, False)
    lifecycle.update(workers=1)
    assert state(lifecycle) == ("degraded", True, True)


def test_lifecycle_is_degraded_but_ready_while_some_worker_is_left():
    lifecycle = Lifecycle(expected_workers=2)
    lifecycle.update(workers=2)
    lifecycle.update(workers=1)
    assert state(lifecycle) == ("degraded", True, True)
    lifecycle.update(workers=0)
    assert state(lifecycle) == ("degraded", True, False)
    lifecycle.update(workers=2)
    assert state(lifecycle) == ("ready", True, True)


def test_lifecycle_is_not_ready_while_draining():
    lifecycle = Lifecycle(expected_workers=1)
    lifecycle.update(workers=1)
    lifecycle.drain()
    assert state(lifecycle) == ("draining", True, False)


def test_drain_plan_counts_the_timeout_from_when_nothing_more_is_accepted():
    plan = DrainPlan.begin(delay_ms=500, timeout_ms=1000)
    assert round(plan.deadline - plan.accept_until, 6) == 1.0


def test_log_lines_are_json_with_their_fields():
    record = logging.LogRecord("serving", logging.INFO, "", 0, "process %s", ("ready",), None)
    record.fields = {"process": "worker-0"}
    line = json.loads(JsonLines().format(record))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "event": "process ready", "process": "worker-0"}
