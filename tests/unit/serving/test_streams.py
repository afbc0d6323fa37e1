"""Batches that run beside each other: when, and how many."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from serving.metrics import MetricsCollector
from serving.streams import Streams, Turn, count_streams
from serving.wire import INFER, Message
from serving.work import WorkQueue


class Silent:
    """Stands in for a connection."""

    def send(self, kind, fields, tensors=()): ...


LINK = Silent()


def infer(number: int) -> Message:
    fields = {
        "id": number, "model": ["m", "1"], "signature": "s", "priority": 1, "length": 1,
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


@pytest.mark.parametrize(
    ("threads", "streams"), [(1, 1), (2, 2), (3, 3), (4, 2), (8, 2), (12, 3), (16, 4), (64, 16)]
)
def test_streams_have_a_few_threads_each(threads, streams):
    assert count_streams(threads) == streams
    assert threads // streams >= 1


def crowded(streams: int, *numbers: int, **options) -> WorkQueue:
    """With these waiting since a batch ran that had come alone."""
    queue = queue_of(streams, 99, **options)
    turn = queue.take()
    queue.receive(LINK, *map(infer, numbers))
    queue.done(turn, 1.0)
    return queue


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
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.receive(LINK, infer(1), infer(2))
    thread.join(0.1)
    assert taken == []
    queue.done(turn, 1.0)
    taken.append(queue.take())
    thread.join(10)
    assert sorted(map(ids, taken)) == [[1], [2]]
    assert all(turn.shared for turn in taken)


def test_those_who_had_to_wait_run_beside_each_other():
    queue = crowded(2, *range(5))
    turns = queue.take(), queue.take()
    assert [(ids(turn), turn.shared) for turn in turns] == [([0, 1, 2], True), ([3], True)]


def test_full_batches_stay_full():
    queue = crowded(2, *range(12))
    assert [ids(queue.take()) for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_what_comes_while_a_stream_is_free_begins_at_once():
    queue = crowded(2, 0)
    first = queue.take()
    queue.receive(LINK, infer(1))
    second = queue.take()
    assert [(ids(turn), turn.shared) for turn in (first, second)] == [([0], True), ([1], True)]


def test_once_nobody_has_to_wait_who_comes_has_all_threads_again():
    queue = crowded(2, 0)
    queue.done(queue.take(), 2.0)
    queue.receive(LINK, infer(1))
    assert not queue.take().shared


def test_a_model_that_gains_nothing_has_all_threads_whoever_waits():
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
        queue._forecasts[True].measured(("m", "1"), samples=samples, seconds=2.0 * samples)
    one, other = queue.take(), queue.take()
    queue.done(one, 8.0)
    turn = queue.take()
    queue.done(other, 8.0)
    assert ids(turn) == [8, 9, 10, 11]
    assert queue._seconds(turn.began, 1) == pytest.approx((8 + 8) / 2, rel=0.1)
    group = (("m", "1"), "s")
    behind = queue._seconds(turn.began, 1, group, 4, 4)
    assert behind == pytest.approx((8 + 8) / 2 + 8, rel=0.1)


def test_what_is_left_counts_as_one_stream_would_need_for_it():
    streams = Streams(4)
    streams.turns = [Turn([], shared=False, began=0.0, ends=3.0)]
    assert (streams.free, streams.left(1.0)) == (0, 8.0)
    streams.turns = [Turn([], shared=True, began=0.0, ends=ends) for ends in (3.0, 0.5)]
    assert (streams.free, streams.left(1.0)) == (2, 2.0)
