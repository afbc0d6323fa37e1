"""Whatever arrives, and whenever: what a batch may hold, and that nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.batching import Batcher, Item

BATCH_SIZE = 5
DELAY = 2.0
CAPACITY = 17


class BatcherMachine(RuleBasedStateMachine):
    """Adds, discards and polls in any order while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, delay=DELAY, capacity=CAPACITY)
        self.waiting: dict[int, Item[int]] = {}
        self.count = 0

    @rule(
        samples=st.integers(1, BATCH_SIZE),
        group=st.sampled_from("abc"),
        life=st.floats(0.0, 6.0),
        priority=st.integers(1, 3),
    )
    def add(self, samples, group, life, priority):
        item = Item(
            self.count,
            group=group,
            samples=samples,
            arrived=self.now,
            deadline=self.now + life,
            priority=priority,
        )
        held = sum(other.samples for other in self.waiting.values())
        accepted = self.batcher.add(item)
        assert accepted == (held + samples <= CAPACITY)
        if accepted:
            self.waiting[self.count] = item
        self.count += 1

    @rule(data=st.data())
    def discard(self, data):
        if self.waiting:
            number = data.draw(st.sampled_from(sorted(self.waiting)))
            assert self.batcher.discard(self.waiting.pop(number))

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def poll(self):
        poll = self.batcher.poll(self.now)
        for item in poll.expired:
            assert self.waiting.pop(item.payload).deadline <= self.now
        if poll.batch:
            self.check_batch(poll.batch)
        for item in poll.batch:
            del self.waiting[item.payload]
        if not poll.batch:
            self.check_nothing_to_do(poll.wake)

    def check_batch(self, batch):
        assert len({item.group for item in batch}) == 1
        total = sum(item.samples for item in batch)
        assert 1 <= total <= BATCH_SIZE
        assert all(item.deadline > self.now for item in batch)
        company = [item for item in self.waiting.values() if item.group == batch[0].group]
        held = sum(item.samples for item in company)
        due = any(min(i.arrived + DELAY, i.deadline) <= self.now for i in company)
        assert held >= BATCH_SIZE or due
        left = [item for item in company if item not in batch and item.deadline > self.now]
        if left:
            first = min(left, key=lambda item: (item.priority, item.payload))
            assert total + first.samples > BATCH_SIZE
            assert all(
                (item.priority, item.payload) < (first.priority, first.payload) for item in batch
            )

    def check_nothing_to_do(self, wake):
        groups: dict[object, int] = {}
        for item in self.waiting.values():
            groups[item.group] = groups.get(item.group, 0) + item.samples
            assert min(item.arrived + DELAY, item.deadline) > self.now
        assert all(samples < BATCH_SIZE for samples in groups.values())
        dues = [min(item.arrived + DELAY, item.deadline) for item in self.waiting.values()]
        assert wake == min(dues, default=None)

    @invariant()
    def counts_what_waits(self):
        assert len(self.batcher) == sum(item.samples for item in self.waiting.values())


test_batcher_keeps_its_promises_in_any_order_of_events = BatcherMachine.TestCase


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 10), st.integers(1, BATCH_SIZE)), max_size=30),
)
def test_batcher_runs_every_item_once_and_by_its_time_when_polled_as_it_asks(arrivals):
    batcher: Batcher[int] = Batcher(batch_size=BATCH_SIZE, delay=DELAY, capacity=1000)
    pending = sorted((at, number, samples) for number, (at, samples) in enumerate(arrivals))
    sent: list[int] = []
    now = 0.0
    while pending or len(batcher):
        poll = batcher.poll(now)
        for item in poll.batch:
            assert item.arrived <= now <= item.arrived + DELAY
        sent += [item.payload for item in poll.batch]
        if poll.batch:
            continue
        now = min([at for at, _, _ in pending[:1]] + [poll.wake or float("inf")])
        while pending and pending[0][0] <= now:
            at, number, samples = pending.pop(0)
            batcher.add(
                Item(number, group="g", samples=samples, arrived=at, deadline=float("inf"))
            )
    assert sent == sorted(sent, key=lambda number: (arrivals[number][0], number))
    assert sorted(sent) == list(range(len(arrivals)))
