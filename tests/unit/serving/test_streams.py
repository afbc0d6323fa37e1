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


def infer(number: int, *, length: int = 1, alone: bool = False) -> Message:
    fields = {
        "id": number, "model": ["m", "1"], "signature": "s", "priority": 1, "length": length,
        "routed": True, "deadline": math.inf, "alone": alone,
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


@pytest.mark.parametrize("waiting", [1, 4, 7])
def test_a_batch_has_all_threads_where_the_next_is_not_full(waiting):
    turn = queue_of(2, *range(waiting)).take()
    assert (ids(turn), turn.shared) == (list(range(min(4, waiting))), False)


def test_nothing_begins_beside_a_batch_that_has_all_threads():
    queue = queue_of(2, 0)
    turn = queue.take()
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.receive(LINK, *map(infer, range(1, 9)))
    thread.join(0.1)
    assert taken == []
    queue.done(turn, 1.0)
    taken.append(queue.take())
    thread.join(10)
    assert sorted(map(ids, taken)) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert all(turn.shared for turn in taken)


def test_full_batches_run_beside_each_other():
    queue = queue_of(2, *range(8))
    turns = queue.take(), queue.take()
    assert [(ids(turn), turn.shared) for turn in turns] == [
        ([0, 1, 2, 3], True),
        ([4, 5, 6, 7], True),
    ]


def test_batches_are_full_by_their_tokens():
    queue = queue_of(2, batch_tokens=10)
    queue.receive(LINK, *(infer(number, length=5) for number in range(4)))
    turns = queue.take(), queue.take()
    assert [(ids(turn), turn.shared) for turn in turns] == [([0, 1], True), ([2, 3], True)]


def test_what_comes_while_others_run_beside_each_other_has_a_stream_too():
    queue = queue_of(3, *range(12))
    one, _ = queue.take(), queue.take()
    queue.done(one, 4.0)
    turn = queue.take()
    queue.receive(LINK, infer(20))
    other = queue.take()
    assert [(ids(turn), turn.shared), (ids(other), other.shared)] == [
        ([8, 9, 10, 11], True),
        ([20], True),
    ]


def test_once_all_streams_are_free_a_batch_has_all_threads_again():
    queue = queue_of(2, *range(8))
    for turn in (queue.take(), queue.take()):
        queue.done(turn, 4.0)
    queue.receive(LINK, infer(20))
    assert not queue.take().shared


def test_a_model_that_gains_nothing_has_all_threads_whoever_waits():
    queue = queue_of(2, *range(8), shares=lambda _: False)
    assert not queue.take().shared


def test_requests_that_cannot_be_joined_are_full_batches():
    queue = queue_of(2)
    queue.receive(LINK, *(infer(number, alone=True) for number in range(2)))
    turns = queue.take(), queue.take()
    assert [(ids(turn), turn.shared) for turn in turns] == [([0], True), ([1], True)]


def test_one_stream_shares_nothing():
    assert not queue_of(1, *range(8)).take().shared


def test_what_runs_and_waits_is_spread_over_the_streams():
    """A sample takes 2 seconds on a stream: 4 run on one, 4 wait for the other."""
    queue = queue_of(2, *range(16))
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
