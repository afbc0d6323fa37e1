"""Whatever arrives, and whenever: what a batch may hold, and that nothing is lost."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.batch import Item, alike, cut
from serving.batching import AMPLE, MOST_OVERTAKEN, Batcher

BATCH_SIZE = 5
BATCH_TOKENS = 100
DELAY = 2.0
CAPACITY = 17


class BatcherMachine(RuleBasedStateMachine):
    """Adds, discards and polls in any order while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher: Batcher[int] = Batcher(
            batch_size=BATCH_SIZE, batch_tokens=BATCH_TOKENS, capacity=CAPACITY
        )
        self.waiting: dict[int, Item[int]] = {}
        self.count = 0
        self.overtaken: dict[int, int] = {}
        """By how many batches, that were led by one that came later and was pressed."""

    @rule(
        samples=st.integers(1, BATCH_SIZE),
        group=st.just("a") | st.sampled_from("abc"),
        life=st.floats(0.0, 6.0),
        hurry=st.floats(0.0, 3.0),
        patience=st.floats(0.0, DELAY),
        priority=st.just(1) | st.integers(1, 3),
        length=st.just(30) | st.integers(1, 150),
        origin=st.sampled_from("xy"),
    )
    def add(self, *, samples, group, life, hurry, patience, priority, length, origin):
        item = Item(
            self.count,
            group=group,
            samples=samples,
            arrived=self.now,
            due=self.now + patience,
            deadline=self.now + life,
            presses=self.now + life - hurry,
            priority=priority,
            length=length,
            origin=origin,
        )
        held = sum(other.samples for other in self.waiting.values())
        accepted = self.batcher.add(item)
        assert accepted == (held + samples <= CAPACITY)
        if accepted:
            self.waiting[self.count] = item
        self.count += 1

    @rule(samples=st.integers(1, BATCH_SIZE), priority=st.integers(0, 3))
    def make_room(self, samples, priority):
        held = sum(item.samples for item in self.waiting.values())
        later = [item for item in self.waiting.values() if item.priority > priority]
        leaving = self.batcher.yielding(samples, to=priority)
        if leaving is None:
            assert held - sum(item.samples for item in later) + samples > CAPACITY
            return
        left = held - sum(item.samples for item in leaving)
        assert left + samples <= CAPACITY
        assert not leaving or left + leaving[-1].samples + samples > CAPACITY
        order = sorted(later, key=lambda item: (-item.priority, -item.payload))
        assert leaving == order[: len(leaving)]

    @rule(data=st.data())
    def discard(self, data):
        if self.waiting:
            number = data.draw(st.sampled_from(sorted(self.waiting)))
            assert self.batcher.discard(self.waiting.pop(number))

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(pieces=st.integers(1, 3), ahead=st.floats(0.0, 6.0))
    def poll(self, pieces, ahead):
        poll = self.batcher.poll(self.now, pieces=lambda _: pieces, takes=lambda _: ahead)
        for item in poll.expired:
            assert self.waiting.pop(item.payload).deadline <= self.now
        if poll.batch:
            self.check_batch(poll.batch)
            self.check_piece(poll.batch, pieces)
        for item in poll.batch:
            del self.waiting[item.payload]
        if not poll.batch:
            self.check_nothing_to_do(poll.wake)

    def check_batch(self, batch):
        assert len({item.group for item in batch}) == 1
        total = sum(item.samples for item in batch)
        lengths = [item.length for item in batch]
        assert 1 <= total <= BATCH_SIZE
        if len(batch) > 1:
            assert total * max(lengths) <= BATCH_TOKENS
            assert alike(min(lengths), max(lengths))
        assert all(item.deadline > self.now for item in batch)
        assert self.is_time()
        # Nobody of a higher priority waits elsewhere. Of that one whoever has waited longest is
        # served, unless there is somebody who cannot wait for another batch, and has not come after
        # somebody who was overtaken often enough.
        company = [item for item in self.waiting.values() if item.group == batch[0].group]
        highest = min(item.priority for item in self.waiting.values())
        oldest = min(item.payload for item in company if item.priority == highest)
        nearest = min(
            (item for item in self.waiting.values() if item.priority == highest),
            key=lambda item: (item.deadline, item.payload),
        )
        first = min(item.payload for item in self.waiting.values() if item.priority == highest)
        if nearest.presses > self.now:
            assert self.waiting[oldest] in batch
        elif nearest not in batch:
            assert self.waiting[first] in batch
            assert self.overtaken.get(first, 0) >= MOST_OVERTAKEN
        elif self.waiting[first] not in batch:
            for item in self.waiting.values():
                if item.priority == highest:
                    self.overtaken[item.payload] = self.overtaken.get(item.payload, 0) + 1
            assert self.overtaken[first] <= MOST_OVERTAKEN

    def check_piece(self, batch, pieces):
        company = [item for item in self.waiting.values() if item.group == batch[0].group]
        share = -(-sum(item.samples for item in company) // pieces)
        assert len(batch) == 1 or sum(item.samples for item in batch) <= share

    def is_time(self):
        return any(item.due <= self.now for item in self.waiting.values()) or any(
            self.full([item for item in self.waiting.values() if item.group == group])
            for group in {item.group for item in self.waiting.values()}
        )

    def check_nothing_to_do(self, wake):
        assert not self.is_time()
        assert wake == min((item.due for item in self.waiting.values()), default=None)

    @staticmethod
    def full(items):
        samples = sum(item.samples for item in items)
        tokens = sum(item.samples * item.length for item in items)
        return samples >= BATCH_SIZE or tokens >= BATCH_TOKENS

    @invariant()
    def counts_what_waits(self):
        assert len(self.batcher) == sum(item.samples for item in self.waiting.values())


test_batcher_keeps_its_promises_in_any_order_of_events = BatcherMachine.TestCase


@given(
    arrivals=st.lists(
        st.tuples(st.floats(0, 10), st.integers(1, BATCH_SIZE), st.integers(1, 150)), max_size=30
    ),
)
def test_batcher_runs_every_item_once_and_by_its_time_when_polled_as_it_asks(arrivals):
    batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, batch_tokens=BATCH_TOKENS, capacity=1000)
    pending = sorted((at, number) for number, (at, _, _) in enumerate(arrivals))
    sent: list[int] = []
    now = 0.0
    while pending or len(batcher):
        poll = batcher.poll(now)
        for item in poll.batch:
            assert item.arrived <= now <= item.due
        sent += [item.payload for item in poll.batch]
        if poll.batch:
            continue
        now = min([at for at, _ in pending[:1]] + [poll.wake or float("inf")])
        while pending and pending[0][0] <= now:
            at, number = pending.pop(0)
            _, samples, length = arrivals[number]
            batcher.add(
                Item(
                    number,
                    group="g",
                    samples=samples,
                    arrived=at,
                    due=at + DELAY,
                    deadline=float("inf"),
                    length=length,
                )
            )
    assert sorted(sent) == list(range(len(arrivals)))


def late(items: list[tuple[str, int, float]], *, seconds: float) -> set[int]:
    """Who is not done by the deadline where all come at 0, and a batch takes so long, of which one
    second is known. `items`: their origins, samples, and seconds until the deadline.
    """
    batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, capacity=1000)
    for number, (origin, samples, deadline) in enumerate(items):
        batcher.add(
            Item(
                number, "g", samples, arrived=0.0, due=0.0, deadline=deadline,
                presses=deadline - 2.0, origin=origin,
            )
        )  # fmt: skip
    missed: set[int] = set()
    now = 0.0
    while waits := len(batcher):
        most = -(-waits // 3)  # of five samples every batch but the last has three
        poll = batcher.poll(now, takes=lambda _, most=most: float(most))
        now += seconds
        missed |= {item.payload for item in poll.expired}
        missed |= {item.payload for item in poll.batch if item.deadline < now}
    return missed


@given(
    items=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.floats(0.5, 40.0)), max_size=20
    ),
    seconds=st.floats(0.1, AMPLE),
)
def test_batcher_makes_nobody_late_for_the_sake_of_an_origin(items, seconds):
    alone = [("", samples, deadline) for _, samples, deadline in items]
    assert late(items, seconds=seconds) <= late(alone, seconds=seconds)


@given(origins=st.text("abc", max_size=30))
def test_batcher_costs_nobody_more_than_a_batch_of_each_other_origin(origins):
    batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, capacity=1000)
    for number, origin in enumerate(origins):
        batcher.add(
            Item(number, "g", 1, arrived=0.0, due=0.0, deadline=float("inf"), origin=origin)
        )
    left: list[list[int]] = []
    while len(batcher):
        left.append([item.payload for item in batcher.poll(0.0, takes=lambda _: 1.0).batch])
    assert sorted(itertools.chain(*left)) == list(range(len(origins)))
    others = len(set(origins)) - 1
    for place, batch in enumerate(left):
        for number in batch:
            assert place <= number // BATCH_SIZE + others


@given(arrivals=st.lists(st.tuples(st.floats(0, 10), st.just(1)), max_size=30))
def test_batcher_keeps_the_order_of_arrival_among_samples_of_one_length(arrivals):
    batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, capacity=1000)
    for number, (at, samples) in enumerate(sorted(arrivals)):
        batcher.add(
            Item(number, group="g", samples=samples, arrived=at, due=at, deadline=float("inf"))
        )
    sent: list[int] = []
    while poll := batcher.poll(100.0).batch:
        sent += [item.payload for item in poll]
    assert sent == list(range(len(arrivals)))


@given(lengths=st.lists(st.integers(1, 300), max_size=40), size=st.integers(1, 8))
def test_cut_loses_nothing_and_every_piece_can_run(lengths, size):
    lengths = sorted(lengths)
    pieces = [lengths[piece] for piece in cut(lengths, batch_size=size, batch_tokens=BATCH_TOKENS)]
    assert [length for piece in pieces for length in piece] == lengths
    for piece in pieces:
        assert 1 <= len(piece) <= size
        assert len(piece) == 1 or len(piece) * piece[-1] <= BATCH_TOKENS
        assert alike(piece[0], piece[-1])
