"""Batcher: which waiting samples run next, and when. Pure: it is told the time, and owns no clock.

Items of one group may run together. A group is sent when it holds a batch's worth of samples or of
tokens, or when one of its items is due. The item that has waited longest goes first, and takes
along those that are nearest to it in length, so that little padding is paid for.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

P = TypeVar("P")

MOST_GONE = 64
"""Entries of items that no longer wait, above which a heap is tidied."""
MOST_STRETCH = 2
"""A sample is padded to at most so many times its length: beyond it runs cheaper in a batch of its
own."""
SHORT = 16
"""Samples of fewer tokens count as if they had these: what a batch costs of its own outweighs their
padding."""


@dataclass(eq=False, slots=True)
class Item(Generic[P]):
    """Samples of one request that stay together."""

    payload: P
    group: Hashable
    samples: int
    arrived: float
    """Seconds on the clock that `Batcher.poll` is told."""
    due: float
    """When it runs at the latest, alone if need be."""
    deadline: float
    """From when on nobody wants the answer."""
    length: int = 1
    """Tokens of its longest sample, to which the others of a batch are padded."""
    priority: int = 1
    """1 goes first."""
    waiting: bool = field(default=False, init=False)
    sequence: int = field(default=-1, init=False)
    """Its place in the order of arrival."""


@dataclass(frozen=True, slots=True)
class Poll(Generic[P]):
    """What there is to do now."""

    batch: list[Item[P]]
    """Items of one group to run at once; empty if it is not time yet."""
    expired: list[Item[P]]
    """Items whose deadline has passed: they left the queue and will never run."""
    wake: float | None
    """When there is something to do, if nothing arrives before; None: not before an arrival."""


class _Heap(Generic[P]):
    """Waiting items by a key. An item that stops waiting is dropped when it gets to the front, or
    when there are too many like it.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Item[P]]] = []
        self._gone = 0

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, key: float, sequence: int, item: Item[P]) -> None:
        heapq.heappush(self._entries, (key, sequence, item))

    def forget_one(self) -> None:
        """One of the items has stopped waiting."""
        self._gone += 1
        if self._gone > MOST_GONE and self._gone * 2 > len(self._entries):
            self._entries = [entry for entry in self._entries if entry[2].waiting]
            heapq.heapify(self._entries)
            self._gone = 0

    def first(self) -> tuple[float, Item[P]] | None:
        """The smallest key of an item that waits, and the item."""
        while self._entries and not self._entries[0][2].waiting:
            heapq.heappop(self._entries)
            self._gone -= 1
        return (self._entries[0][0], self._entries[0][2]) if self._entries else None


class _Queue(Generic[P]):
    """Waiting items of one group and priority: by length, and by arrival."""

    def __init__(self) -> None:
        self._by_length: list[tuple[int, int, Item[P]]] = []
        self._by_arrival: _Heap[P] = _Heap()

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, item: Item[P]) -> None:
        bisect.insort(self._by_length, (item.length, item.sequence, item))
        self._by_arrival.push(item.sequence, item.sequence, item)

    def remove(self, item: Item[P]) -> None:
        del self._by_length[bisect.bisect_left(self._by_length, (item.length, item.sequence))]
        self._by_arrival.forget_one()

    def oldest(self) -> Item[P]:
        first = self._by_arrival.first()
        if first is None:
            raise AssertionError("an empty queue has been dropped")
        return first[1]

    def nearest(self, length: int) -> Iterator[Item[P]]:
        """From that length outwards, by distance; of the same length in order of arrival."""
        right = bisect.bisect_left(self._by_length, (length,))
        left = right - 1
        while left >= 0 or right < len(self._by_length):
            shorter = length - self._by_length[left][0] if left >= 0 else None
            longer = self._by_length[right][0] - length if right < len(self._by_length) else None
            if longer is None or (shorter is not None and shorter < longer):
                yield self._by_length[left][2]
                left -= 1
            else:
                yield self._by_length[right][2]
                right += 1


class _Group(Generic[P]):
    """The waiting items of one group, by priority."""

    def __init__(self) -> None:
        self.samples = 0
        self.tokens = 0
        self.queues: dict[int, _Queue[P]] = {}

    def add(self, item: Item[P]) -> None:
        self.queues.setdefault(item.priority, _Queue()).add(item)
        self.samples += item.samples
        self.tokens += item.samples * item.length

    def remove(self, item: Item[P]) -> None:
        queue = self.queues[item.priority]
        queue.remove(item)
        if not queue:
            del self.queues[item.priority]
        self.samples -= item.samples
        self.tokens -= item.samples * item.length

    def in_order(self) -> Iterator[Item[P]]:
        """Priority by priority, from the length of the oldest of the highest one outwards."""
        length = self.queues[min(self.queues)].oldest().length
        for priority in sorted(self.queues):
            yield from self.queues[priority].nearest(length)


class _Batch(Generic[P]):
    """A batch in the making."""

    def __init__(self, most_samples: int, most_tokens: int | None) -> None:
        self.items: list[Item[P]] = []
        self._samples = 0
        self._shortest = self._longest = 0
        self._most_samples = most_samples
        self._most_tokens = most_tokens

    @property
    def full(self) -> bool:
        """Whether not even one more sample of the same length fits."""
        samples = self._samples + 1
        return samples > self._most_samples or self._exceeds(samples * self._longest)

    def takes(self, item: Item[P]) -> bool:
        """Whether the item fits, and pads nobody, itself included, too much."""
        if not self.items:
            return True
        shortest, longest = min(self._shortest, item.length), max(self._longest, item.length)
        samples = self._samples + item.samples
        return (
            samples <= self._most_samples
            and not self._exceeds(samples * longest)
            and alike(shortest, longest)
        )

    def add(self, item: Item[P]) -> None:
        self._shortest = min(self._shortest, item.length) if self.items else item.length
        self._longest = max(self._longest, item.length)
        self._samples += item.samples
        self.items.append(item)

    def _exceeds(self, tokens: int) -> bool:
        return self._most_tokens is not None and tokens > self._most_tokens


def cut(lengths: Sequence[int], *, batch_size: int, batch_tokens: int | None) -> list[slice]:
    """Where to cut samples of rising lengths so that each piece can run as one batch."""
    pieces: list[slice] = []
    start = 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths):
            longest = lengths[end]
            samples = end + 1 - start
            if (
                samples <= batch_size
                and (batch_tokens is None or samples * longest <= batch_tokens)
                and alike(lengths[start], longest)
            ):
                continue
        pieces.append(slice(start, end))
        start = end
    return pieces


def alike(shortest: int, longest: int) -> bool:
    """Whether samples of these lengths may be padded to each other."""
    return longest <= MOST_STRETCH * max(shortest, SHORT)


class Batcher(Generic[P]):
    """A bounded queue of items that is emptied batch by batch."""

    def __init__(self, *, batch_size: int, capacity: int, batch_tokens: int | None = None) -> None:
        """`batch_size` and `capacity` count samples; `batch_tokens` counts a batch's tokens with
        their padding, which only a batch of one item may exceed.
        """
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._capacity = capacity
        self._groups: dict[Hashable, _Group[P]] = {}
        self._full: dict[Hashable, None] = {}
        self._due: _Heap[P] = _Heap()
        self._sequence = itertools.count()
        self._samples = 0

    def __len__(self) -> int:
        """Number of samples that wait."""
        return self._samples

    def add(self, item: Item[P]) -> bool:
        """Queue the item. False, and nothing is queued, if that would exceed the capacity."""
        if not 1 <= item.samples <= self._batch_size:
            raise ValueError(f"an item has 1 to {self._batch_size} samples, not {item.samples}")
        if self._samples + item.samples > self._capacity:
            return False
        item.sequence = next(self._sequence)
        item.waiting = True
        group = self._groups.setdefault(item.group, _Group())
        group.add(item)
        self._samples += item.samples
        self._due.push(item.due, item.sequence, item)
        if self._is_full(group):
            self._full[item.group] = None
        return True

    def discard(self, item: Item[P]) -> bool:
        """Take an item back. False if it does not wait: it ran, expired or was discarded."""
        if not item.waiting:
            return False
        self._remove(item)
        return True

    def poll(self, now: float) -> Poll[P]:
        """The next batch if there is one to run at `now`; poll again until there is none."""
        expired: list[Item[P]] = []
        while (first := self._due.first()) is not None:
            due, oldest = first
            if oldest.deadline <= now:
                self._remove(oldest)
                expired.append(oldest)
                continue
            if due <= now:
                group = oldest.group
            elif self._full:
                group = next(iter(self._full))
            else:
                return Poll([], expired, due)
            batch = self._take(group, now, expired)
            if batch:
                return Poll(batch, expired, now)
        return Poll([], expired, None)

    def _take(self, key: Hashable, now: float, expired: list[Item[P]]) -> list[Item[P]]:
        """As many items of the group as fit; what is past its deadline goes to `expired`."""
        batch = _Batch[P](self._batch_size, self._batch_tokens)
        for item in self._groups[key].in_order():
            if item.deadline <= now:
                expired.append(item)
            elif batch.takes(item):
                batch.add(item)
            elif batch.full:
                break
        for item in itertools.chain(batch.items, expired):
            if item.waiting:
                self._remove(item)
        return batch.items

    def _is_full(self, group: _Group[P]) -> bool:
        if group.samples >= self._batch_size:
            return True
        return self._batch_tokens is not None and group.tokens >= self._batch_tokens

    def _remove(self, item: Item[P]) -> None:
        item.waiting = False
        self._due.forget_one()
        self._samples -= item.samples
        group = self._groups[item.group]
        group.remove(item)
        if group.samples == 0:
            del self._groups[item.group]
        if not self._is_full(group):
            self._full.pop(item.group, None)
