"""What a worker runs where it arrives, and what it leaves to the threads of its loop."""

from __future__ import annotations

import itertools
import os
import threading

import numpy as np
import pytest

from serving.job import EXPIRED
from serving.metrics import MetricsCollector
from serving.reception import Reception
from serving.wire import CANCEL, INFER, Message
from serving.work import BRIEF_SECONDS, WorkQueue
from tests.running_server import eventually

BRIEF = BRIEF_SECONDS / 10
MODEL = ("m", "1")
LONG_FROM_NOW = 2.0**40


class Recorder:
    """Stands in for a connection: keeps what is sent over it."""

    def __init__(self) -> None:
        self.sent: list[dict] = []

    def send(self, kind, fields, tensors=()):
        self.sent += fields["answers"]


class Worker:
    """A reception, and what it ran of its own accord."""

    def __init__(self, *, takes: float = BRIEF, **options) -> None:
        options = {"batch_size": 4, "delay": 10.0, "capacity": 64, **options}
        self.queue = WorkQueue(metrics=MetricsCollector(), **options)
        self.reception = Reception(self.queue, self.run)
        self.takes = takes
        self.ran: list[list[int]] = []
        self.link = Recorder()

    def run(self, turn):
        self.ran.append([item.payload.id for item in turn.batch])
        self.queue.done(turn, self.takes)
        return {}

    def hears(self, *messages, link=None) -> None:
        self.reception.receive(link or self.link, *messages)

    def settles(self) -> list[list[int]]:
        """What it ran then."""
        before = len(self.ran)
        for _ in self.reception.settle():
            pass
        return self.ran[before:]

    def knows(self, model=MODEL):
        """That model has run."""
        self.queue._prospect.measured(model, samples=1, seconds=self.takes, shared=False)
        return self


def infer(number: int, *, model=MODEL, signature="s", samples=1, length=1, **more) -> Message:
    fields = {
        "id": number, "model": list(model), "signature": signature, "priority": 1,
        "length": length, "routed": True, "deadline": LONG_FROM_NOW,
    }  # fmt: skip
    return Message(INFER, fields | more, [{"x": np.zeros((samples, 2), np.float32)}])


@pytest.fixture
def worker() -> Worker:
    return Worker().knows()


def test_what_came_in_one_turn_is_one_batch_of_whomever_it_is(worker):
    worker.hears(infer(0), infer(1))
    worker.hears(infer(7), link=Recorder())
    assert worker.settles() == [[0, 1, 7]]
    assert worker.settles() == []


def test_what_waits_for_company_otherwise_does_not_where_it_is_brief(worker):
    worker.hears(infer(0))
    assert worker.settles() == [[0]]


@pytest.mark.parametrize(
    "more",
    [
        [infer(1, signature="t")],
        [infer(1, model=("m", "2"))],
        [infer(number) for number in range(1, 6)],
    ],
    ids=["another shape", "another version", "more than a batch"],
)
def test_what_cannot_be_one_batch_runs_in_several_one_after_the_other(worker, more):
    worker.knows(("m", "2"))
    worker.hears(infer(0), *more)
    ran = worker.settles()
    assert sorted(itertools.chain(*ran)) == list(range(len(more) + 1))
    assert len(ran) == 2


def test_what_runs_alone_is_in_no_batch_with_others(worker):
    worker.hears(infer(0, alone=True), infer(1, alone=True))
    assert worker.settles() == [[0], [1]]
    worker.hears(infer(2, alone=True))
    assert worker.settles() == [[2]]


def test_tokens_bound_a_batch_that_never_waited():
    worker = Worker(batch_tokens=8).knows()
    worker.hears(infer(0, length=4), infer(1, length=4))
    assert worker.settles() == [[0, 1]]
    worker.hears(infer(0, length=4), infer(1, length=5))
    assert [len(batch) for batch in worker.settles()] == [1, 1]


@pytest.mark.parametrize(
    "worker",
    [Worker(), Worker(takes=2 * BRIEF_SECONDS).knows(), Worker(takes=0.4 * BRIEF_SECONDS).knows()],
    ids=["never ran", "long", "long together"],
)
def test_the_loop_is_left_what_is_not_known_to_be_brief(worker):
    numbers = range(13)  # four batches
    worker.hears(*map(infer, numbers))
    assert worker.settles() == []
    assert len(worker.queue.take().batch) == 4


def test_nothing_begins_beside_what_the_loop_runs():
    worker = Worker(delay=0.0).knows()
    worker.queue.receive(worker.link, infer(0))
    turn = worker.queue.take()
    worker.hears(infer(1))
    assert worker.settles() == []
    worker.queue.done(turn, BRIEF)
    worker.hears()
    assert worker.settles() == [[1]]


def test_a_thread_that_found_the_engine_taken_sees_to_what_is_left():
    worker = Worker(delay=0.0).knows()
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(worker.queue.take()), daemon=True)

    def run(turn):
        thread.start()
        eventually(lambda: worker.queue._sleepers)
        worker.queue.done(turn, BRIEF)
        return {}

    worker.reception._run = run
    worker.hears(infer(0))
    worker.settles()
    worker.hears(infer(1, model=("m", "2")))  # which never ran
    worker.settles()
    thread.join(10)
    assert [[item.payload.id for item in turn.batch] for turn in taken] == [[1]]


def test_who_has_gone_is_not_asked_for(worker):
    gone = Recorder()
    worker.hears(infer(0), link=gone)
    worker.hears(infer(1))
    worker.reception.lost(gone)
    assert worker.settles() == [[1]]


def test_what_is_taken_back_at_once_never_runs(worker):
    worker.hears(infer(0), infer(1), Message(CANCEL, {"ids": [0], "begun": [0]}))
    assert worker.settles() == [[1]]
    assert worker.link.sent == [{"id": 0, "status": EXPIRED}]


def test_what_is_too_late_does_not_run(worker):
    worker.hears(infer(0, deadline=0.0))
    assert worker.settles() == []
    worker.hears(infer(1))
    assert worker.settles() == [[1]]


def test_a_closed_queue_begins_nothing(worker):
    worker.queue.close()
    worker.hears(infer(0))
    assert worker.settles() == []


def test_a_shadow_rests_between_batches():
    worker = Worker(rest=1000.0).knows()
    worker.hears(infer(0))
    assert worker.settles() == [[0]]
    worker.hears(infer(1))
    assert worker.settles() == []


def test_what_ran_without_waiting_was_foretold_as_well(worker):
    worker.hears(infer(0))
    worker.settles()
    assert worker.queue._prospect.outlook(MODEL, shared=False).margin < BRIEF_SECONDS
    assert worker.queue.used().keys() == {MODEL}


def test_a_process_whose_port_cannot_run_anything_ends(worker, monkeypatch, caplog):
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    def fail(turn):
        raise RuntimeError("a defect")

    worker.reception._run = fail
    worker.hears(infer(0))
    worker.settles()
    assert ended == [1]
    assert "cannot go on" in caplog.text
