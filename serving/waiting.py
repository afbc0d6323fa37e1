"""Waiting items: by arrival, by length and by priority."""

from __future__ import annotations

import bisect
import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.batch import Item

P = TypeVar("P")

MOST_GONE = 64
"""Entries of items that no longer wait, above which a heap is tidied."""


class ItemHeap(Generic[P]):
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
        self._by_arrival: ItemHeap[P] = ItemHeap()

    def __len__(self) -> int:
        return len(self._by_length)

    def __iter__(self) -> Iterator[Item[P]]:
        return (item for _, _, item in self._by_length)

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


class Group(Generic[P]):
    """The waiting items of one group, by priority."""

    def __init__(self) -> None:
        self.samples = 0
        self.tokens = 0
        self.latest = -math.inf
        """When the last one arrived."""
        self.queues: dict[int, _Queue[P]] = {}

    def add(self, item: Item[P]) -> None:
        self.queues.setdefault(item.priority, _Queue()).add(item)
        self.samples += item.samples
        self.tokens += item.samples * item.length
        self.latest = item.arrived

    def remove(self, item: Item[P]) -> None:
        queue = self.queues[item.priority]
        queue.remove(item)
        if not queue:
            del self.queues[item.priority]
        self.samples -= item.samples
        self.tokens -= item.samples * item.length

    @property
    def highest(self) -> int:
        """Of the priorities that wait the one that goes first."""
        return min(self.queues)

    @property
    def oldest(self) -> Item[P]:
        """Of the highest priority."""
        return self.queues[self.highest].oldest()

    def around(self, length: int) -> Iterator[Item[P]]:
        """Priority by priority, from that length outwards."""
        for priority in sorted(self.queues):
            yield from self.queues[priority].nearest(length)
