"""Waiting items: by arrival, by length and by priority."""

from __future__ import annotations

import bisect
import heapq
import itertools
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

    def push(self, key: float, sequence: int, item: Item[P]) -> None:
        heapq.heappush(self._entries, (key, sequence, item))

    def forget(self, items: int = 1) -> None:
        """So many of the items have stopped waiting."""
        self._gone += items
        if self._gone == len(self._entries):
            self._entries.clear()
            self._gone = 0
        elif self._gone > MOST_GONE and self._gone * 2 > len(self._entries):
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
    """Waiting items of one group and priority: by length, those of one length by arrival."""

    def __init__(self) -> None:
        self._lengths: list[int] = []
        """Those that there are, in order."""
        self._items: dict[int, dict[int, Item[P]]] = {}
        """By length and place in the order of arrival."""
        self.samples = 0
        self.tokens = 0

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def __iter__(self) -> Iterator[Item[P]]:
        return (item for items in self._items.values() for item in items.values())

    def add(self, item: Item[P]) -> None:
        items = self._items.get(item.length)
        if items is None:
            items = self._items[item.length] = {}
            bisect.insort(self._lengths, item.length)
        items[item.sequence] = item
        self.samples += item.samples
        self.tokens += item.samples * item.length

    def remove(self, item: Item[P]) -> None:
        items = self._items[item.length]
        del items[item.sequence]
        self.samples -= item.samples
        self.tokens -= item.samples * item.length
        if not items:
            del self._items[item.length]
            self._lengths.remove(item.length)

    def alike(self, *, among: int | None = None) -> list[Item[P]] | None:
        if len(self._items) > 1:
            return None
        (items,) = self._items.values()
        return list(itertools.islice(items.values(), among))

    def oldest(self) -> Item[P]:
        firsts = [next(iter(items.values())) for items in self._items.values()]
        return firsts[0] if len(firsts) == 1 else min(firsts, key=lambda item: item.sequence)

    def nearest(self, length: int) -> Iterator[Item[P]]:
        """From that length outwards, by distance, the longer first; of the same length in order of
        arrival.
        """
        lengths = self._lengths
        if len(lengths) > 1:
            lengths = sorted(lengths, key=lambda other: (abs(other - length), -other))
        return (item for other in lengths for item in self._items[other].values())


class Group(Generic[P]):
    """The waiting items of one group, by priority."""

    def __init__(self, most: int) -> None:
        """`most`: samples of a batch."""
        self.most = most
        self.samples = 0
        self.tokens = 0
        self.latest = -math.inf
        """When the last one arrived."""
        self.queues: dict[int, _Queue[P]] = {}

    def add(self, item: Item[P]) -> None:
        queue = self.queues.get(item.priority)
        if queue is None:
            queue = self.queues[item.priority] = _Queue()
        queue.add(item)
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

    def ahead(self, priority: int) -> tuple[int, int]:
        """How many samples, and tokens, do not go after that priority."""
        samples = tokens = 0
        for turn, queue in self.queues.items():
            if turn <= priority:
                samples += queue.samples
                tokens += queue.tokens
        return samples, tokens

    def alike(self, *, among: int | None = None) -> list[Item[P]] | None:
        """All of them, or the first so many, in order of arrival; None where they differ in
        priority or length.
        """
        if len(self.queues) > 1:
            return None
        (queue,) = self.queues.values()
        return queue.alike(among=among)

    def same_origin(self, leader: Item[P], *, among: int) -> list[Item[P]]:
        """The others of its origin among the first so many; nobody where those who wait differ in
        priority or length.
        """
        first, origin = self.alike(among=among), leader.origin
        if first is None:
            return []
        return [item for item in first if item.origin == origin and item is not leader]

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
