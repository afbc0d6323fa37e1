"""Batches that run beside each other: when, and how many."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from serving.metrics import MetricsCollector
from serving.streams import Streams, Turn, count_streams
from serving.wire import INFER, Message
from serving.work import WorkQueue
from tests.running_server import eventually


class Silent:
    """Stands in for a connection."""

    def send(self, kind, fields, tensors=()): ...


LINK = Silent()


def infer(number: int, *, model: str = "m") -> Message:
    fields = {
        "id": number, "model": [model, "1"], "signature": "s", "priority": 1, "length": 1,
        "routed": True, "deadline": math.inf,
    }  # fmt: skip
    return Message(INFER, fields, [{"x": np.zeros((1, 2), np.float32)}])


def ids(turn: Turn) -> list[int]:
    return [item.payload.id for item in turn.batch]


def queue_of(streams: int, *numbers: int, **options) -> WorkQueue:
    """With these waiting, of which four are a batch."""
    queue = WorkQueue(
        batch_size=4, delay=0.0, capacity=64, metrics=MetricsCollector(), streams=streams, **options
    )
    queue.receive(LINK, *map(infer, numbers))
    return queue


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 2), (4, 4), (5, 1), (64, 1)])
def test_a_few_threads_have_a_stream_each(threads, streams):
    assert count_streams(threads) == streams


def crowded(streams: int, *numbers: int, **options) -> WorkQueue:
    """With these waiting since a batch ran that had come alone."""
    queue = queue_of(streams, 99, **options)
    turn = queue.take()
    queue.receive(LINK, *map(infer, numbers))
    queue.done(turn, 1.0)
    return queue


def seconds(queue: WorkQueue, *until) -> float:
    """That the queue foretells."""
    return queue._prospect.seconds(*until, crowded=queue._crowded(more=1))


def taking(queue: WorkQueue) -> tuple[threading.Thread, list[Turn]]:
    """A thread that waits for a batch, and where it puts it."""
    taken: list[Turn] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    thread.start()
    return thread, taken


def test_who_comes_alone_has_all_threads():
    queue = queue_of(2)
    for number in range(3):
        queue.receive(LINK, infer(number))
        turn = queue.take()
        assert (ids(turn), turn.shared) == ([number], False)
        queue.done(turn, 1.0)


def test_nothing_begins_beside_a_batch_that_has_all_threads():
    queue = queue_of(2, 0)
    turn = queue.take()
    thread, taken = taking(queue)
    queue.receive(LINK, infer(1), infer(2))
    queue.rouse()
    thread.join(0.1)
    assert taken == []
    queue.done(turn, 1.0)
    taken.append(queue.take())
    thread.join(10)
    assert sorted(map(ids, taken)) == [[1], [2]]
    assert all(turn.shared for turn in taken)


def test_who_waited_alone_has_all_threads_whatever_comes_then():
    queue = queue_of(2, 0)
    turn = queue.take()
    thread, taken = taking(queue)
    queue.receive(LINK, infer(1))
    queue.rouse()
    thread.join(0.1)
    queue.done(turn, 1.0)
    assert ids(queue.take()) == [1]
    queue.receive(LINK, infer(2))
    queue.rouse()
    thread.join(0.1)
    assert taken == []
    queue.close()
    thread.join(10)


def test_a_thread_that_found_no_stream_sees_to_what_comes_once_there_is_one():
    queue = queue_of(3, 0)
    turn = queue.take()
    taken: list = []
    for _ in range(2):
        threading.Thread(target=lambda: taken.append(queue.take()), daemon=True).start()
    queue.receive(LINK, infer(1), infer(2))
    queue.rouse()
    time.sleep(0.1)
    queue.done(turn, 1.0)
    taken.append(queue.take())
    eventually(lambda: len(taken) == 2)
    queue.receive(LINK, infer(3))
    queue.rouse()
    eventually(lambda: len(taken) == 3)
    assert sorted(map(ids, taken)) == [[1], [2], [3]]


def test_those_who_had_to_wait_run_beside_each_other():
    queue = crowded(2, *range(5))
    turns = queue.take(), queue.take()
    assert [(ids(turn), turn.shared) for turn in turns] == [([0, 1, 2], True), ([3], True)]


def test_full_batches_stay_full():
    queue = crowded(2, *range(12))
    assert [ids(queue.take()) for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_whoever_waited_alone_has_all_threads():
    queue = crowded(2, 0)
    turn = queue.take()
    assert (ids(turn), turn.shared) == ([0], False)


def test_what_comes_while_a_stream_is_free_begins_at_once():
    queue = crowded(3, 0, 1)
    first, second = queue.take(), queue.take()
    queue.receive(LINK, infer(2))
    third = queue.take()
    assert list(map(ids, (first, second, third))) == [[0], [1], [2]]
    assert third.shared


def test_once_nobody_has_to_wait_who_comes_has_all_threads_again():
    queue = crowded(2, 0, 1)
    for turn in (queue.take(), queue.take()):
        queue.done(turn, 2.0)
    queue.receive(LINK, infer(2))
    assert not queue.take().shared


def test_whoever_comes_after_those_who_waited_have_gone_comes_alone():
    queue = crowded(2, 0, 1)
    queue.lost(LINK)
    queue.receive(LINK, infer(2), infer(3))
    assert not queue.take().shared


def test_what_would_be_shared_out_is_not_refused_as_if_it_were_one_batch():
    """Three wait for two streams, on which a sample takes 2 seconds: not for one batch of four."""
    queue = crowded(2, 0, 1, 2)
    for samples in (1, 4):
        queue._prospect._forecasts[True].measured(
            ("m", "1"), samples=samples, seconds=2.0 * samples
        )
    group = (("m", "1"), "s")
    assert seconds(queue, time.monotonic(), 1, group, 1, 1) == pytest.approx(6.0, rel=0.1)


def test_a_model_that_gains_nothing_runs_whole_beside_others_and_counts_as_such():
    queue = crowded(3, 0, 1, shares=lambda key: key != ("other", "1"))
    turns = [queue.take(), queue.take()]
    queue.receive(LINK, infer(2, model="other"), infer(3, model="other"))
    turns.append(queue.take())
    assert [(ids(turn), turn.shared) for turn in turns] == [
        ([0], True),
        ([1], True),
        ([2, 3], True),
    ]


def test_a_model_that_gains_nothing_has_has_all_threads_whoever_waits():
    queue = crowded(2, *range(3), shares=lambda _: False)
    turn = queue.take()
    assert (ids(turn), turn.shared) == ([0, 1, 2], False)


def test_one_stream_shares_nothing():
    turn = crowded(1, *range(3)).take()
    assert (ids(turn), turn.shared) == ([0, 1, 2], False)


def test_what_runs_and_waits_is_spread_over_the_streams():
    """A sample takes 2 seconds on a stream: 4 run on one, 4 wait for the other."""
    queue = crowded(2, *range(16))
    for samples in (1, 4):
        queue._prospect._forecasts[True].measured(
            ("m", "1"), samples=samples, seconds=2.0 * samples
        )
    one, other = queue.take(), queue.take()
    queue.done(one, 8.0)
    turn = queue.take()
    queue.done(other, 8.0)
    assert ids(turn) == [8, 9, 10, 11]
    assert seconds(queue, turn.began, 1) == pytest.approx((8 + 8) / 2, rel=0.1)
    group = (("m", "1"), "s")
    behind = seconds(queue, turn.began, 1, group, 4, 4)
    assert behind == pytest.approx((8 + 8) / 2 + 8, rel=0.1)


def test_what_is_left_counts_as_one_stream_would_need_for_it():
    streams = Streams(4)
    streams.turns = [Turn([], shared=False, began=0.0, ends=3.0)]
    assert (streams.free, streams.left(1.0)) == (0, 8.0)
    streams.turns = [Turn([], shared=True, began=0.0, ends=ends) for ends in (3.0, 0.5)]
    assert (streams.free, streams.left(1.0)) == (2, 2.0)
