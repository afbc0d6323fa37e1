"""The queue of a worker: what it answers by itself, and what it hands out."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import serving.work
from serving.fixed_cost import FEW
from serving.forecast import APART
from serving.job import BEGUN, CANCELLED, EXPIRED, REJECTED, share
from serving.lateness import Lateness
from serving.metrics import MetricsCollector
from serving.wire import CANCEL, INFER, Message
from serving.work import WorkQueue


class Recorder:
    """Stands in for a connection: keeps what is sent over it."""

    def __init__(self) -> None:
        self.sent: list[dict] = []

    def send(self, kind, fields, tensors=()):
        self.sent.append({"kind": kind, **fields})


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(batch_size=4, delay=0.01, capacity=6, metrics=MetricsCollector())


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The queue's, which stands still but where a test sets its `now`."""
    found = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(serving.work, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def infer(
    number: int, *, samples: int = 1, seconds: float = 60.0, signature: str = "s", model: str = "m",
    priority: int = 1,
) -> Message:  # fmt: skip
    fields = {
        "id": number, "model": [model, "1"], "signature": signature, "priority": priority,
        "length": 1,
        "routed": True,
        "deadline": time.monotonic() + seconds,
    }  # fmt: skip
    return Message(INFER, fields, [{"x": np.zeros((samples, 2), np.float32)}])


def ids(turn) -> list[int]:
    return [item.payload.id for item in turn.batch]


def run(queue: WorkQueue) -> list[int]:
    """The next batch, which takes no time."""
    turn = queue.take()
    queue.done(turn, 0.0, whole=False)
    return ids(turn)


def test_take_joins_what_arrived_together(queue):
    link = Recorder()
    for number in range(3):
        queue.receive(link, infer(number))
    assert run(queue) == [0, 1, 2]


@pytest.mark.parametrize(("seconds", "batch"), [(60.0, [10, 12]), (3.5, [10, 11])])
def test_take_prefers_those_of_one_api_process_where_there_is_time(seconds, batch):
    queue = WorkQueue(batch_size=2, delay=0.01, capacity=6, metrics=MetricsCollector())
    one, other = Recorder(), Recorder()
    queue.receive(one, infer(0, samples=2))
    queue.done(queue.take(), 1.0)
    for number, link in enumerate((one, other, one, other), start=10):
        queue.receive(link, infer(number, seconds=seconds))
    assert run(queue) == batch


def test_take_keeps_to_the_order_of_arrival_where_nothing_is_known():
    queue = WorkQueue(batch_size=2, delay=0.01, capacity=6, metrics=MetricsCollector())
    one, other = Recorder(), Recorder()
    for number, link in enumerate((one, other, one, other)):
        queue.receive(link, infer(number))
    assert run(queue) == [0, 1]


def test_take_returns_a_full_batch_first(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=3))
    queue.receive(link, infer(1, samples=3))
    assert run(queue) == [0]
    assert run(queue) == [1]


def test_receive_rejects_what_exceeds_the_capacity(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.receive(link, infer(1, samples=3))
    queue.receive(link, infer(2, samples=2))
    refusal = {"id": 1, "status": REJECTED, "wait": 0.0, "late": 0.0}
    assert link.sent == [{"kind": "reply", "answers": [refusal]}]
    assert run(queue) == [0]
    assert run(queue) == [2]


def test_what_makes_no_sense_keeps_nobody_from_being_refused(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    with pytest.raises(IndexError):
        queue.receive(link, infer(1, samples=3), Message(INFER, {"id": 2}, []))
    [refused] = link.sent
    assert [found["id"] for found in refused["answers"]] == [1]


def test_cancelled_items_are_not_handed_out(queue):
    link, other = Recorder(), Recorder()
    queue.receive(link, infer(0))
    queue.receive(other, infer(0))
    queue.receive(link, Message(CANCEL, {"ids": [0, 99]}, []))
    [item] = queue.take().batch
    assert item.payload.link is other


def test_items_of_a_lost_connection_are_not_handed_out(queue):
    link, other = Recorder(), Recorder()
    queue.receive(link, infer(0))
    queue.receive(link, infer(1))
    queue.receive(other, infer(2))
    queue.lost(link)
    queue.lost(link)
    assert run(queue) == [2]


def test_items_past_their_deadline_are_not_handed_out(queue):
    link = Recorder()
    queue.receive(link, infer(0, seconds=-1.0))
    queue.receive(link, infer(1))
    assert run(queue) == [1]


def test_who_is_taken_back_has_gone_or_its_deadline_has_passed(queue, clock, monkeypatch):
    dropped: list[tuple[str, int]] = []
    monkeypatch.setattr(queue._metrics, "dropped", lambda *told: dropped.append(told))
    link = Recorder()
    queue.receive(link, infer(0, seconds=60.0), infer(1, seconds=5.0, samples=2))
    clock.now += 5.0
    queue.receive(link, Message(CANCEL, {"ids": [0, 1]}, []))
    queue.receive(link, infer(2, seconds=-1.0))
    assert sorted(dropped) == [(CANCELLED, 1), (EXPIRED, 1), (EXPIRED, 2)]
    assert link.sent == []


def test_take_blocks_until_something_arrives(queue):
    batches: list = []
    thread = threading.Thread(target=lambda: batches.append(queue.take()))
    thread.start()
    queue.receive(Recorder(), infer(5))
    queue.rouse()
    thread.join(10)
    assert ids(batches[0]) == [5]


def test_take_returns_none_when_the_queue_is_closed_while_it_blocks(queue):
    batches: list = []
    thread = threading.Thread(target=lambda: batches.append(queue.take()))
    thread.start()
    queue.close()
    thread.join(10)
    assert batches == [None]


def test_nothing_is_remembered_of_what_was_handed_out(queue):
    link = Recorder()
    for number in range(4):
        queue.receive(link, infer(number))
    queue.take()
    assert queue._items == {link: {}}


def test_receive_rejects_what_would_wait_past_its_deadline(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 8.0)
    queue.receive(link, infer(1, samples=3, seconds=5.0))  # nothing waits before it
    queue.receive(link, infer(2, seconds=5.0))
    [refusal] = link.sent[0]["answers"]
    assert refusal == {"id": 2, "status": REJECTED, "wait": 8.0, "late": refusal["late"]}
    assert refusal["late"] > 0
    queue.receive(link, infer(3, seconds=8.5))
    assert len(link.sent) == 1


def test_receive_rejects_what_would_begin_in_time_but_not_end(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 8.0)
    queue.receive(link, infer(1))
    queue.receive(
        link, infer(2, seconds=7.0)
    )  # would begin with the first, and end after 8 seconds
    assert [sent["answers"][0]["id"] for sent in link.sent] == [2]


def test_receive_reckons_with_the_batch_that_runs(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 8.0)
    queue.receive(link, infer(1, samples=4))
    assert ids(queue.take()) == [1]
    queue.receive(link, infer(2))
    queue.receive(link, infer(3, seconds=15.0))
    queue.receive(link, infer(4, seconds=17.0))
    assert [sent["answers"][0]["id"] for sent in link.sent] == [3]


def test_samples_do_not_wait_for_company_where_batches_take_up_the_target():
    queue = WorkQueue(batch_size=4, delay=30.0, capacity=6, target=1.0, metrics=MetricsCollector())
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 0.6)
    queue.receive(link, infer(1))
    assert run(queue) == [1]  # at once, not after 30 seconds


def test_samples_leave_in_time_for_their_deadline(queue):
    queue = WorkQueue(batch_size=4, delay=30.0, capacity=6, metrics=MetricsCollector())
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 9.0)
    queue.receive(link, infer(1, seconds=9.05))
    assert run(queue) == [1]


def test_who_cancels_is_told_what_had_begun_if_it_asks(queue):
    """One runs, in a batch of two; one waits; one is not known any more."""
    link = Recorder()
    for number in range(2):
        queue.receive(link, infer(number))
    queue.take()
    queue.receive(link, infer(2))
    queue.receive(link, Message(CANCEL, {"ids": [0, 2, 9], "begun": [0, 2, 9]}, []))
    [reply] = link.sent
    runs, waits, unknown = reply["answers"]
    assert (runs["id"], runs["status"], runs["share"]) == (0, BEGUN, 0.5)
    assert runs["infer"] >= 0
    assert waits == {"id": 2, "status": EXPIRED}
    assert unknown == {"id": 9, "status": EXPIRED}


def test_requests_that_name_a_version_have_no_share_of_the_batch(queue):
    link = Recorder()
    for number in range(3):
        message = infer(number)
        message.fields["routed"] = number > 0
        queue.receive(link, message)
    assert share(queue.take().batch) == 0.5


def test_items_know_what_company_saves_once_enough_batches_have_run(queue):
    found = []
    for number in range(FEW + 2):
        queue.receive(Recorder(), infer(number, samples=4))
        turn = queue.take()
        found.append(turn.batch[0].saves)
        queue.done(turn, 0.02)
    assert found == [math.inf] * (FEW + 1) + [pytest.approx(0.02)]


def test_what_would_be_in_time_by_a_hair_is_refused_where_forecasts_have_been_too_early(queue):
    def asked(number: int) -> list[dict]:
        """Behind a sample that waits, with a second of which a batch takes 0.9."""
        link = Recorder()
        queue.receive(link, infer(number))
        queue.receive(link, infer(number + 1, seconds=1.0))
        return link.sent

    queue.receive(Recorder(), infer(0, samples=4))
    queue.done(queue.take(), 0.9)
    assert asked(1) == []
    for _ in range(32):
        turn = queue.take()
        for item in turn.batch:  # as if each had run half a second later than foretold
            item.payload = item.payload._replace(foretold=time.monotonic() - 0.5)
        queue.done(turn, 0.9)
        queue.receive(Recorder(), infer(0))
    queue.take()
    [refusal] = asked(3)
    assert refusal["answers"][0]["status"] == REJECTED


def test_a_model_that_is_late_takes_no_time_from_another(queue):
    for _ in range(32):
        queue.receive(Recorder(), infer(0, model="late"))
        turn = queue.take()
        [late] = turn.batch
        late.payload = late.payload._replace(foretold=time.monotonic() - 10.0)
        queue.done(turn, 0.0)
    link = Recorder()
    queue.receive(link, infer(1))
    queue.receive(link, infer(2, seconds=5.0))
    assert link.sent == []
    queue.receive(link, infer(3, seconds=5.0, model="late"))
    [refusal] = link.sent
    assert refusal["answers"][0]["id"] == 3


def test_one_batch_is_one_forecast_however_many_samples_it_has(queue):
    link = Recorder()
    for number in range(4):
        queue.receive(link, infer(number))
    turn = queue.take()
    for item in turn.batch:
        item.payload = item.payload._replace(foretold=time.monotonic() - 8.0)
    queue.done(turn, 0.0)
    queue.receive(link, infer(4))
    queue.receive(link, infer(5, seconds=4.0))  # a sixteenth of 8 s counts, and so much it strays
    assert link.sent == []


def resting(seconds: float) -> WorkQueue:
    """Of a queue that rests three times as long as a batch ran, after one that ran so long."""
    queue = WorkQueue(batch_size=1, delay=0.0, capacity=6, metrics=MetricsCollector(), rest=3.0)
    for number in range(2):
        queue.receive(Recorder(), infer(number))
    queue.done(queue.take(), seconds)
    return queue


def test_a_queue_that_rests_hands_out_nothing_for_some_times_as_long_as_a_batch_ran():
    began = time.monotonic()
    assert ids(resting(0.05).take()) == [1]
    assert time.monotonic() - began >= 0.15


def test_a_queue_that_rests_closes_at_once():
    queue = resting(3600.0)
    closing = threading.Timer(0.05, queue.close)
    closing.start()
    assert queue.take() is None
    closing.join()


def test_who_goes_first_takes_the_place_of_who_came_last_of_those_that_go_last(queue):
    early, late = Recorder(), Recorder()
    queue.receive(early, infer(0, samples=3, priority=5), infer(1, samples=2, priority=5))
    queue.receive(late, infer(0, priority=9))
    queue.receive(late, infer(2, samples=2, priority=1))
    assert [sent["answers"] for sent in late.sent] == [
        [{"id": 0, "status": REJECTED, "wait": 0.0, "late": 0.0}]
    ]
    assert [sent["answers"][0]["id"] for sent in early.sent] == [1]
    assert run(queue) == [2]
    assert run(queue) == [0]


def test_who_goes_first_is_not_turned_away_for_those_who_wait(queue):
    link = Recorder()
    queue.receive(link, infer(0, samples=4))
    queue.done(queue.take(), 8.0)
    queue.receive(link, infer(1, samples=4, priority=5))
    queue.receive(link, infer(2, seconds=9.0, priority=6), infer(3, seconds=9.0, priority=4))
    assert [sent["answers"][0]["id"] for sent in link.sent] == [2]
    queue.receive(link, Message(CANCEL, {"ids": [3]}, []))
    assert queue.idle(("m", "1")) is False
    assert run(queue) == [1]


def test_who_joins_a_batch_that_runs_anyway_waits_for_no_more_than_that(queue):
    link = Recorder()
    queue.receive(link, infer(0))
    queue.done(queue.take(), 8.0)  # of one sample
    for number in range(1, 5):
        queue.receive(link, infer(number, seconds=9.0))
    queue.receive(link, infer(5, seconds=9.0))  # the fifth is the first of the batch after
    assert [sent["answers"][0]["id"] for sent in link.sent] == [5]


def test_a_queue_reckons_with_what_is_left_of_the_batch_that_runs(clock):
    queue = WorkQueue(batch_size=4, delay=0.0, capacity=6, metrics=MetricsCollector())
    link = Recorder()
    queue.receive(link, infer(0))
    queue.done(queue.take(), 8.0)
    queue.receive(link, infer(1))
    queue.take()
    queue.receive(link, infer(2, seconds=3600.0))
    clock.now += 6.0
    queue.receive(link, infer(3, seconds=9.9 + 6.0), infer(4, seconds=10.1 + 6.0))
    assert [sent["answers"][0]["id"] for sent in link.sent] == [3]
    clock.now += 6.0  # it takes longer than batches do, and may end now
    queue.receive(link, infer(5, seconds=7.9 + 12.0), infer(6, seconds=8.1 + 12.0))
    assert [sent["answers"][0]["id"] for sent in link.sent] == [3, 5]


def test_a_model_that_others_keep_from_running_is_tried_again_now_and_then(clock):
    queue = WorkQueue(batch_size=4, delay=0.0, capacity=6, metrics=MetricsCollector())
    queue.receive(Recorder(), infer(0))
    queue.done(queue.take(), 8.0)
    queue.receive(Recorder(), infer(1, model="another", seconds=3600.0))
    link = Recorder()
    for _ in range(2):
        clock.now += APART * 8.0 + 0.1
        ends = clock.now - time.monotonic() + 4.0
        queue.receive(link, infer(2, seconds=ends), infer(3, seconds=ends))
    assert [sent["answers"][0]["id"] for sent in link.sent] == [3, 3]


def test_what_expires_together_was_one_forecast_that_was_wrong(clock):
    queue = WorkQueue(batch_size=4, delay=0.0, capacity=6, metrics=MetricsCollector())
    for number in range(4):
        queue.receive(Recorder(), infer(number, seconds=1.0))
    clock.now += 8.0
    queue.receive(Recorder(), infer(4, model="another"))
    assert run(queue) == [4]
    [foretold, done] = [clock.now - 8.0, clock.now]
    once = Lateness()
    once.measured(foretold=foretold, done=done)
    assert queue._prospect._forecasts[False].outlook(("m", "1")).margin == pytest.approx(
        once.margin, rel=0.01
    )
