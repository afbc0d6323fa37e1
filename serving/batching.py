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


class _Group(Generic[P]):
    """The waiting items of one group, in the order in which they run."""

    def __init__(self) -> None:
        self.samples = 0
        self._heap: list[tuple[int, int, Item[P]]] = []
        self._gone = 0

    def push(self, sequence: int, item: Item[P]) -> None:
        heapq.heappush(self._heap, (item.priority, sequence, item))
        self.samples += item.samples

    def forget(self, item: Item[P]) -> None:
        """Count an item out that stopped waiting; its entry goes when it gets to the front."""
        self.samples -= item.samples
        self._gone += 1
        if self._gone > MOST_GONE and self._gone * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].waiting]
            heapq.heapify(self._heap)
            self._gone = 0

    def head(self) -> Item[P] | None:
        while self._heap and not self._heap[0][2].waiting:
            heapq.heappop(self._heap)
            self._gone -= 1
        return self._heap[0][2] if self._heap else None


class Batcher(Generic[P]):
    """A bounded queue of items that is emptied batch by batch."""

    def __init__(self, *, batch_size: int, delay: float, capacity: int) -> None:
        """`batch_size` and `capacity` count samples, `delay` is in seconds."""
        self._batch_size = batch_size
        self._delay = delay
        self._capacity = capacity
        self._groups: dict[Hashable, _Group[P]] = {}
        self._full: dict[Hashable, None] = {}
        self._due: list[tuple[float, int, Item[P]]] = []
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
        group.push(sequence, item)
        self._samples += item.samples
        due = min(item.arrived + self._delay, item.deadline - self.service_time)
        heapq.heappush(self._due, (due, sequence, item))
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
        while (due := self._first_due()) is not None:
            if due[0] <= now:
                group = due[1]
            elif self._full:
                group = next(iter(self._full))
            else:
                return Poll([], expired, due[0])
            batch = self._take(group, now, expired)
            if batch:
                return Poll(batch, expired, now)
        return Poll([], expired, None)

    def drain(self) -> list[Item[P]]:
        """Every item that waits, which thereby leaves, in the order of arrival."""
        items = sorted((entry for entry in self._due if entry[2].waiting), key=lambda e: e[1])
        for _, _, item in items:
            self._remove(item)
        return [item for _, _, item in items]

    def _first_due(self) -> tuple[float, Hashable] | None:
        """When the oldest waiting item is due, and its group."""
        while self._due and not self._due[0][2].waiting:
            heapq.heappop(self._due)
        return (self._due[0][0], self._due[0][2].group) if self._due else None

    def _take(self, key: Hashable, now: float, expired: list[Item[P]]) -> list[Item[P]]:
        """As many items of the group as fit; what is past its deadline goes to `expired`."""
        batch: list[Item[P]] = []
        room = self._batch_size
        group = self._groups[key]
        while (head := group.head()) is not None:
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
        group.forget(item)
        self._samples -= item.samples
        if group.samples == 0:
            del self._groups[item.group]
        if group.samples < self._batch_size:
            self._full.pop(item.group, None)
