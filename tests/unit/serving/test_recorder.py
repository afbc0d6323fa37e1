"""What an API process sees of versions that share their traffic."""

from __future__ import annotations

from types import SimpleNamespace

from serving.exchange import Exchange
from serving.metrics import RequestRecord
from serving.routing import recorder as module
from serving.routing.recorder import Recorder, until_next_tick
from serving.run import Run


def exchange(*, routed: bool) -> Exchange:
    """Of a request for version 2 that ran with one other."""
    record = RequestRecord("/predict", model="m", version="2")
    return Exchange("id", record, routed=routed, runs=[Run(0.01, samples=2, share=0.5)])


def recorded(split: bool = True):
    """A recorder, and what it tells."""
    told = []
    return Recorder(SimpleNamespace(is_split=lambda _: split), told.append), told


def test_what_a_split_chose_is_told_once_with_its_share_of_the_batch():
    recorder, told = recorded()
    recorder.record(exchange(routed=True), 200)
    recorder.tell()
    recorder.tell()
    [message] = told
    [(key, outcomes)] = message.outcomes.items()
    assert (key, outcomes.ok) == (("m", "2"), 0.5)


def test_requests_that_name_a_version_take_no_part():
    recorder, told = recorded()
    for status in (200, 500, 504):
        recorder.record(exchange(routed=False), status)
    recorder.tell()
    assert told == []


def test_a_deadline_is_no_outcome_unless_a_worker_says_that_the_version_ran_until_then():
    recorder, told = recorded()
    recorder.record(exchange(routed=True), 504)
    recorder.overdue(("m", "2"), 0.5)
    recorder.tell()
    [message] = told
    outcomes = message.outcomes["m", "2"]
    assert (outcomes.ok, outcomes.failed) == (0.0, 0.5)


def test_nothing_is_told_where_traffic_is_not_split():
    recorder, told = recorded(split=False)
    recorder.record(exchange(routed=True), 500)
    recorder.overdue(("m", "2"), 0.5)
    recorder.tell()
    assert told == []


def test_all_processes_tell_at_the_same_time_and_of_the_same_tick(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 12.25)
    monkeypatch.setattr(module, "time", clock)
    assert until_next_tick() == 0.75
    ticks = []
    for late in (-1e-4, 0.002, 0.3):
        clock.monotonic = lambda late=late: 13.0 + late
        recorder, told = recorded()
        recorder.record(exchange(routed=True), 200)
        recorder.tell()
        ticks += [message.tick for message in told]
    assert ticks == [13, 13, 13]
