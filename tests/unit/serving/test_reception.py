"""What a worker runs where it arrives, and what it leaves to the threads of its loop."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from serving import reception, work
from serving.brevity import BRIEF_SECONDS
from serving.job import EXPIRED
from serving.metrics import MetricsCollector
from serving.reception import Reception
from serving.wire import CANCEL, INFER, Message
from serving.work import WorkQueue
from tests.running_server import eventually

BRIEF = BRIEF_SECONDS / 10
LONG_FROM_NOW = 2.0**40


class Recorder:
    """Stands in for a connection: keeps what is sent over it."""

    def __init__(self) -> None:
        self.sent: list[dict] = []
        self.closed = False

    def send(self, kind, fields, tensors=()):
        self.sent += fields["answers"]

    def close(self):
        self.closed = True


class Worker:
    """A reception, and what ran there. Batches of up to 8 are known to be brief."""

    def __init__(self, **options) -> None:
        options = {"batch_size": 8, "delay": 0.0, "capacity": 64, **options}
        self.queue = WorkQueue(metrics=MetricsCollector(), **options)
        self.reception = Reception(self.queue, self.attempt)
        self.link = Recorder()
        self.ran: list[list[int]] = []
        self.takes(BRIEF, samples=8)

    def takes(self, seconds: float, **part) -> None:
        """A batch of one such part that the loop runs."""
        self.queue.receive(self.link, infer(99, **part))
        self.queue.done(self.queue.take(), seconds)

    def attempt(self, turn):
        self.ran.append(ids(turn))
        self.queue.done(turn, BRIEF)
        return {}

    def hears(self, *messages, link=None) -> list[list[int]]:
        """What it runs of them in the same turn of its port."""
        before = len(self.ran)
        self.reception.receive(link or self.link, *messages)
        for _ in self.reception.settle():
            pass
        return self.ran[before:]

    def left(self) -> list[int]:
        """What the loop takes next."""
        turn = self.queue.take()
        self.queue.done(turn, BRIEF, whole=False)
        return ids(turn)


def infer(number: int, *, model="m", signature="s", samples=1, length=1, **more) -> Message:
    fields = {
        "id": number, "model": [model, "1"], "signature": signature, "priority": 1,
        "length": length, "routed": True, "deadline": LONG_FROM_NOW,
    }  # fmt: skip
    return Message(INFER, fields | more, [{"x": np.zeros((samples, 2), np.float32)}])


def ids(turn) -> list[int]:
    return [item.payload.id for item in turn.batch]


@pytest.fixture
def worker() -> Worker:
    return Worker()


def taking(queue: WorkQueue) -> tuple[threading.Thread, list]:
    """A thread of the loop that waits for a batch, and where it puts it."""
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    thread.start()
    eventually(lambda: queue._sleepers)
    return thread, taken


def test_what_came_in_one_turn_is_one_batch_of_whomever_it_is(worker):
    worker.reception.receive(Recorder(), infer(7))
    assert worker.hears(infer(0), infer(1)) == [[7, 0, 1]]
    assert worker.hears() == []


def test_what_is_brief_waits_for_no_company():
    worker = Worker(delay=1000.0)
    assert worker.hears(infer(0)) == [[0]]


def test_groups_run_one_after_the_other(worker, monkeypatch):
    monkeypatch.setattr(reception, "BRIEF_SECONDS", 60.0)
    worker.takes(BRIEF, model="n")
    worker.takes(BRIEF, signature="t")
    asked = infer(0), infer(1, model="n"), infer(2, signature="t"), infer(3)
    assert worker.hears(*asked) == [[0, 3], [1], [2]]


def test_none_begins_at_once_when_others_have_taken_as_long_as_is_brief(worker):
    def attempt(turn):
        time.sleep(BRIEF_SECONDS)
        return Worker.attempt(worker, turn)

    worker.reception._attempt = attempt
    worker.takes(BRIEF, model="n")
    assert worker.hears(infer(0), infer(1, model="n")) == [[0]]
    assert worker.left() == [1]


@pytest.mark.parametrize(
    "asked",
    [
        [infer(number) for number in range(9)],
        [infer(number, samples=3) for number in range(3)],
        [infer(0), infer(1, length=8)],
        [infer(0, model="n")],
        [infer(0, signature="t")],
        [infer(0, length=9)],
        [infer(0, alone=True), infer(1, alone=True)],
        [infer(0), Message(CANCEL, {"ids": []})],
    ],
    ids=[
        "more than a batch", "more samples", "more with their padding", "another model",
        "another shape", "longer", "alone", "something else is said",
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_one_brief_batch_is_left_to_the_loop(worker, asked):
    assert worker.hears(*asked) == []
    assert 0 in worker.left()


def test_what_may_not_be_padded_to_each_other_is_left_to_the_loop(worker):
    worker.takes(BRIEF, length=500, samples=8)
    assert worker.hears(infer(0, length=40), infer(1, length=41)) == [[0, 1]]
    assert worker.hears(infer(0, length=40), infer(1, length=90)) == []


def test_what_runs_alone_does_so_at_once(worker):
    assert worker.hears(infer(0, alone=True)) == [[0]]


def test_tokens_bound_what_is_one_batch():
    worker = Worker(batch_tokens=8)
    assert worker.hears(infer(0, length=4), infer(1, length=4)) == [[0, 1]]
    assert worker.hears(infer(0, length=4), infer(1, length=5)) == []


def test_no_model_on_a_gpu_holds_up_reading():
    worker = Worker(at_once=lambda model: model != ("m", "1"))
    assert worker.hears(infer(0)) == []


def test_a_batch_that_was_not_brief_is_unlikely_to_be_so_again(worker):
    worker.takes(2 * BRIEF_SECONDS, samples=6)
    assert worker.hears(*map(infer, range(3))) == [[0, 1, 2]]
    assert worker.hears(*map(infer, range(4))) == []
    assert worker.left() == [0, 1, 2, 3]


def test_nothing_begins_beside_what_the_loop_runs(worker):
    worker.queue.receive(worker.link, infer(0))
    turn = worker.queue.take()
    assert worker.hears(infer(1)) == []
    worker.queue.done(turn, BRIEF)
    assert worker.hears(infer(2)) == []  # the first still waits
    assert worker.left() == [1, 2]
    assert worker.hears(infer(3)) == [[3]]


@pytest.mark.parametrize("streams", [1, 2])
def test_who_sleeps_is_woken_for_what_is_left(streams):
    worker = Worker(streams=streams)
    thread, taken = taking(worker.queue)
    assert worker.hears(infer(0, model="n")) == []
    thread.join(10)
    assert list(map(ids, taken)) == [[0]]


@pytest.mark.parametrize("streams", [1, 2])
def test_a_thread_that_found_the_engine_taken_sees_to_what_is_left(streams):
    worker = Worker(streams=streams)
    threads: list = []

    def attempt(turn):
        threads.append(taking(worker.queue))
        return Worker.attempt(worker, turn)

    worker.reception._attempt = attempt
    assert worker.hears(infer(0), infer(1, model="n")) == [[0]]
    [(thread, taken)] = threads
    thread.join(10)
    assert list(map(ids, taken)) == [[1]]


def test_what_fails_is_run_again_by_the_loop_which_finds_out_why(worker):
    def fail(turn):
        raise ValueError("of the model")

    worker.reception._attempt = fail
    thread, taken = taking(worker.queue)
    assert worker.hears(infer(0), infer(1)) == []
    thread.join(10)
    assert list(map(ids, taken)) == [[0, 1]]
    assert worker.hears(infer(2)) == []  # beside it nothing begins
    worker.queue.done(taken[0], BRIEF, whole=False)
    assert worker.left() == [2]


def test_an_answer_that_cannot_be_written_keeps_nobody_from_what_is_left(worker):
    thread, taken = taking(worker.queue)
    worker.reception.receive(worker.link, infer(0), infer(1, model="n"))
    settling = worker.reception.settle()
    next(settling)
    settling.close()  # as whoever writes them does by raising
    thread.join(10)
    assert list(map(ids, taken)) == [[1]]


NO_SENSE = [infer(0, samples=0), Message(INFER, {"id": 0}), Message(INFER, {"id": 0}, [{}])]


@pytest.mark.parametrize("message", NO_SENSE, ids=["no samples", "no fields", "no tensors"])
def test_who_says_what_makes_no_sense_is_hung_up_on(worker, caplog, message):
    other = Recorder()
    worker.reception.receive(other, message)
    worker.hears(infer(1, model="n"))
    assert other.closed
    assert not worker.link.closed
    assert "makes no sense" in caplog.text
    assert worker.left() == [1]


def test_who_has_gone_is_not_asked_for(worker):
    gone = Recorder()
    worker.reception.receive(gone, infer(0))
    worker.reception.receive(worker.link, infer(1))
    worker.reception.lost(gone)
    assert worker.hears() == [[1]]


def test_what_is_taken_back_in_the_same_turn_never_runs(worker):
    cancel = Message(CANCEL, {"ids": [0], "begun": [0]})
    assert worker.hears(infer(0), infer(1), cancel) == []
    assert worker.left() == [1]
    assert worker.link.sent == [{"id": 0, "status": EXPIRED}]


def test_what_is_too_late_is_not_run(worker):
    assert worker.hears(infer(0, deadline=time.monotonic() - 1.0)) == []
    assert worker.hears(infer(1)) == [[1]]


def test_what_may_be_too_late_is_not_run_without_a_plan(worker, monkeypatch):
    monkeypatch.setattr(work, "BRIEF_SECONDS", 3600.0)
    assert worker.hears(infer(0, deadline=time.monotonic() + 1800.0)) == []
    assert worker.hears(infer(1)) == []  # the other is still to be seen to
    assert worker.left() == [0, 1]


def test_a_closed_queue_begins_nothing(worker):
    worker.queue.close()
    assert worker.hears(infer(0)) == []


def test_a_queue_that_is_closed_while_a_brief_batch_runs_answers_that(worker):
    def attempt(turn):
        worker.queue.close()
        return Worker.attempt(worker, turn)

    worker.reception._attempt = attempt
    assert worker.hears(infer(0)) == [[0]]
    assert worker.queue.take() is None


def test_a_shadow_rests_between_batches():
    worker = Worker()
    worker.queue._rest = 1e6
    assert worker.hears(infer(0)) == [[0]]
    assert worker.hears(infer(1)) == []


def test_what_ran_at_once_was_foretold_and_counts_as_used(worker):
    turns: list = []
    worker.reception._attempt = lambda turn: turns.append(turn) or {}
    worker.hears(infer(0))
    [turn] = turns
    assert turn.batch[0].payload.foretold == pytest.approx(turn.began + BRIEF, abs=0.01)
    assert turn.batch[0].payload.foretold > turn.batch[0].arrived
    assert worker.queue.used().keys() == {("m", "1")}
