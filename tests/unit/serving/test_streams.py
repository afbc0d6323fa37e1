"""Batches that run beside each other: when, how many, and who has what of a batch."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batch import Item
from serving.metrics import MetricsCollector
from serving.streams import Streams, Turn, count_streams, split
from serving.wire import INFER, Message
from serving.work import WorkQueue


class Silent:
    """Stands in for a connection."""

    def send(self, kind, fields, tensors=()): ...


LINK = Silent()


def item(number: int, *, samples: int = 1, length: int = 1) -> Item:
    return Item(number, "g", samples, arrived=0.0, due=0.0, deadline=math.inf, length=length)


def infer(number: int, *, samples: int = 1) -> Message:
    fields = {
        "id": number, "model": ["m", "1"], "signature": "s", "priority": 1, "length": 1,
        "routed": True, "deadline": math.inf,
    }  # fmt: skip
    return Message(INFER, fields, [{"x": np.zeros((samples, 2), np.float32)}])


def ids(turn: Turn) -> list[int]:
    return [item.payload.id for item in turn.batch]


def queue_of(streams: int, **options) -> WorkQueue:
    return WorkQueue(
        batch_size=4, delay=0.0, capacity=64, metrics=MetricsCollector(), streams=streams, **options
    )


def crowded(streams: int, *numbers: int, **options) -> WorkQueue:
    """With these waiting since a batch ran that came alone."""
    queue = queue_of(streams, **options)
    queue.receive(LINK, infer(98))
    turn = queue.take()
    queue.receive(LINK, *map(infer, numbers))
    queue.done(turn, 1.0)
    return queue


@pytest.mark.parametrize(
    ("threads", "streams"), [(1, 1), (2, 2), (3, 3), (4, 2), (8, 2), (12, 3), (16, 4), (64, 16)]
)
def test_streams_have_a_few_threads_each(threads, streams):
    assert count_streams(threads) == streams
    assert threads // streams >= 1


def test_who_comes_alone_has_all_threads():
    queue = queue_of(2)
    for number in range(3):
        queue.receive(LINK, infer(number))
        turn = queue.take()
        assert (ids(turn), turn.shared) == ([number], False)
        queue.done(turn, 1.0)


def test_nothing_begins_beside_a_batch_that_has_all_threads():
    queue = queue_of(2)
    queue.receive(LINK, infer(0))
    turn = queue.take()
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.receive(LINK, infer(1))
    thread.join(0.1)
    assert taken == []
    queue.done(turn, 1.0)
    taken.append(queue.take())
    thread.join(0.1)
    assert (ids(taken[0]), taken[0].shared) == ([1], True)
    queue.close()
    thread.join(10)
    assert taken[1:] == [None]


def test_those_who_had_to_wait_run_beside_each_other():
    queue = crowded(2, 0, 1, 2)
    one, other = queue.take(), queue.take()
    assert (ids(one), ids(other)) == ([0, 1], [2])
    assert one.shared
    assert other.shared


def test_whoever_sleeps_is_woken_for_its_piece():
    queue = queue_of(2)
    queue.receive(LINK, infer(98))
    turn = queue.take()
    taken: list = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.receive(LINK, infer(0), infer(1))
    queue.done(turn, 1.0)
    taken.append(queue.take())
    thread.join(10)
    assert sorted(map(ids, taken)) == [[0], [1]]


def test_what_comes_while_a_stream_is_free_begins_at_once():
    queue = crowded(2, 0)
    first = queue.take()
    queue.receive(LINK, infer(1))
    assert ids(queue.take()) == [1]
    assert first.shared


def test_once_nobody_has_to_wait_who_comes_has_all_threads_again():
    queue = crowded(2, 0)
    queue.done(queue.take(), 2.0)
    queue.receive(LINK, infer(1))
    assert not queue.take().shared


def test_a_model_that_cannot_share_has_all_threads_whoever_waits():
    queue = crowded(2, 0, 1, shares=lambda _: False)
    turn = queue.take()
    assert (ids(turn), turn.shared) == ([0, 1], False)


def test_one_stream_shares_nothing():
    turn = crowded(1, 0, 1).take()
    assert (ids(turn), turn.shared) == ([0, 1], False)


def test_what_runs_and_waits_is_spread_over_the_streams():
    """A sample takes 2 seconds on a stream: 4 run on one, 4 wait for the other."""
    queue = crowded(2, *range(12))
    for samples in (1, 4):
        queue._forecasts[True].measured(("m", "1"), samples=samples, seconds=2.0 * samples)
    one, other = queue.take(), queue.take()
    queue.done(one, 4.0)
    whole = queue.take()
    queue.done(other, 4.0)
    assert ids(whole) == [4, 5, 6, 7]
    assert queue._seconds(whole.began, 1) == pytest.approx((8 + 8) / 2, rel=0.1)
    group = (("m", "1"), "s")
    behind = queue._seconds(whole.began, 1, group, 4, 4)
    assert behind == pytest.approx((8 + 8) / 2 + 8, rel=0.1)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=16),
    st.integers(1, 6),
)
def test_pieces_are_the_batch_and_no_larger_than_they_must_be(sizes, pieces):
    batch = [
        item(number, samples=samples, length=length)
        for number, (samples, length) in enumerate(sizes)
    ]
    found = split(batch, pieces)
    assert 1 <= len(found) <= pieces
    assert all(found)
    assert batch[0] in found[0]
    assert sorted(i.payload for piece in found for i in piece) == list(range(len(batch)))
    total = sum(samples for samples, _ in sizes)
    largest = max(sum(i.samples for i in piece) for piece in found)
    assert largest <= total / min(pieces, len(batch)) + max(samples for samples, _ in sizes)
    spans = sorted((min(i.length for i in p), max(i.length for i in p)) for p in found)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def test_what_is_left_counts_as_one_stream_would_need_for_it():
    streams = Streams(4)
    streams.turns = [Turn([], shared=False, began=0.0, ends=3.0)]
    assert (streams.free, streams.left(1.0)) == (0, 8.0)
    streams.turns = [Turn([], shared=True, began=0.0, ends=ends) for ends in (3.0, 0.5)]
    assert (streams.free, streams.left(1.0)) == (2, 2.0)
