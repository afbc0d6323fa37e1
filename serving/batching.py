"""Batcher: which waiting samples run next, and when. Pure: it is told the time, and owns no clock.

Items of one group may run together. A group is sent when it is full, or when its oldest item has
waited for `delay` seconds, or when waiting longer would miss an item's deadline.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

P = TypeVar("P")

MOST_GONE = 64
"""Entries of items that no longer wait, above which a group is tidied."""


@dataclass(eq=False, slots=True)
class Item(Generic[P]):
    """Samples of one request that stay together."""

    payload: P
    group: Hashable
    samples: int
    arrived: float
    """Seconds on the clock that `Batcher.poll` is told."""
    deadline: float
    """From when on nobody wants the answer."""
    priority: int = 1
    """1 goes first."""
    waiting: bool = field(default=False, init=False)


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


class _Group(Generic[P]):
    """The waiting items of one group, in the order in which they run."""

    def __init__(self) -> None:
        self.samples = 0
        self.items: _Heap[P] = _Heap()


class Batcher(Generic[P]):
    """A bounded queue of items that is emptied batch by batch."""

    def __init__(self, *, batch_size: int, delay: float, capacity: int) -> None:
        """`batch_size` and `capacity` count samples, `delay` is in seconds."""
        self._batch_size = batch_size
        self._delay = delay
        self._capacity = capacity
        self._groups: dict[Hashable, _Group[P]] = {}
        self._full: dict[Hashable, None] = {}
        self._due: _Heap[P] = _Heap()
        self._sequence = itertools.count()
        self._samples = 0
        self.service_time = 0.0
        """How long a batch takes, in seconds: what must be left of a deadline when it is sent."""

    def __len__(self) -> int:
        """Number of samples that wait."""
        return self._samples

    def add(self, item: Item[P]) -> bool:
        """Queue the item. False, and nothing is queued, if that would exceed the capacity."""
        if not 1 <= item.samples <= self._batch_size:
            raise ValueError(f"an item has 1 to {self._batch_size} samples, not {item.samples}")
        if self._samples + item.samples > self._capacity:
            return False
        sequence = next(self._sequence)
        group = self._groups.setdefault(item.group, _Group())
        item.waiting = True
        group.items.push(item.priority, sequence, item)
        group.samples += item.samples
        self._samples += item.samples
        due = min(item.arrived + self._delay, item.deadline - self.service_time)
        self._due.push(due, sequence, item)
        if group.samples >= self._batch_size:
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
        batch: list[Item[P]] = []
        room = self._batch_size
        group = self._groups[key]
        while (first := group.items.first()) is not None:
            _, head = first
            if head.deadline <= now:
                expired.append(head)
            elif head.samples <= room:
                room -= head.samples
                batch.append(head)
            else:
                break
            self._remove(head)
        return batch

    def _remove(self, item: Item[P]) -> None:
        item.waiting = False
        group = self._groups[item.group]
        group.samples -= item.samples
        group.items.forget_one()
        self._due.forget_one()
        self._samples -= item.samples
        if group.samples == 0:
            del self._groups[item.group]
        if group.samples < self._batch_size:
            self._full.pop(item.group, None)
