"""Batcher: which waiting samples run next, and when. Pure: it is told the time, and owns no clock.

Items of one group may run together. A group is sent when it holds a batch's worth of samples or of
tokens, when one of its items is due, or when a pause in the arrivals has cost those that wait as
much as one more would save. Whoever would be too late in the next batch leads this one, or else
whoever has waited longest in its group, of the highest priority that waits at all; it takes along
those that are nearest to it in length, so that little padding is paid for. Of its own priority
nobody is overtaken for ever by those who come later and have less time.

Where nothing but the order of arrival tells those who wait from each other, and time does not
press, those of the first whose origin is the leader's go with it before others do: whoever is told
of them is woken once for many.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from serving.batch import Batch, Item
from serving.waiting import Group, ItemHeap

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

P = TypeVar("P")

MOST_OVERTAKEN = 3
"""Batches that may leave before an item because one that came later is pressed."""
AMPLE = 2.0
"""Time does not press where the nearest deadline is so many times as far as all that waits takes.
"""
LOOKS_AT = 2
"""First items that are looked at for those of the leader's origin, for each sample that a batch may
have: how long the queue is costs nothing."""


class Poll(NamedTuple, Generic[P]):
    """What there is to do now."""

    batch: list[Item[P]]
    """Items of one group to run at once; empty if it is not time yet."""
    expired: list[Item[P]]
    """Items whose deadline has passed: they left the queue and will never run."""
    wake: float | None
    """When there is something to do, if nothing arrives before; None: not before an arrival."""


class Batcher(Generic[P]):
    """A bounded queue of items that is emptied batch by batch."""

    def __init__(self, *, batch_size: int, capacity: int, batch_tokens: int | None = None) -> None:
        """`batch_size` and `capacity` count samples; `batch_tokens` counts a batch's tokens with
        their padding, which only a batch of one item may exceed.
        """
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._capacity = capacity
        self._groups: dict[Hashable, Group[P]] = {}
        self._full: dict[Hashable, None] = {}
        self._due: ItemHeap[P] = ItemHeap()
        self._deadlines: dict[int, ItemHeap[P]] = {}
        """By priority."""
        self._sequence = itertools.count()
        self._overtakings: defaultdict[int, deque[int]] = defaultdict(
            lambda: deque(maxlen=MOST_OVERTAKEN)
        )
        """By priority where in the order of arrival the latest happened: who came before was there.
        """
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
        group = self._groups.get(item.group)
        if group is None:
            group = self._groups[item.group] = Group(1 if item.alone else self._batch_size)
        group.add(item)
        self._samples += item.samples
        self._due.push(item.due, item.sequence, item)
        deadlines = self._deadlines.get(item.priority)
        if deadlines is None:
            deadlines = self._deadlines[item.priority] = ItemHeap()
        deadlines.push(item.deadline, item.sequence, item)
        if self._is_full(group):
            self._full[item.group] = None
        return True

    def ahead(self, priority: int) -> list[tuple[Any, int, int]]:
        """Of each group what waits that does not go after that priority: its samples and tokens."""
        if not self._groups:
            return []
        if max(self._deadlines) <= priority:
            return [(key, group.samples, group.tokens) for key, group in self._groups.items()]
        return [(key, *group.ahead(priority)) for key, group in self._groups.items()]

    def batches(self, group: Any, samples: int, tokens: int) -> int:
        """How many it takes to run so much of that group, where there is no padding."""
        waiting = self._groups.get(group)
        most = self._batch_size if waiting is None else waiting.most
        batches = -(-samples // most)
        if self._batch_tokens is None or most < self._batch_size:
            return batches
        return max(batches, -(-tokens // self._batch_tokens))

    @property
    def groups(self) -> Iterable[Any]:
        """Those of which somebody waits."""
        return self._groups

    def yielding(self, samples: int, *, to: int) -> list[Item[P]] | None:
        """Who has to leave so that so many samples of priority `to` can wait: the last of those
        that go after them. None if that does not help.
        """
        missing = self._samples + samples - self._capacity
        if missing <= 0:
            return []
        later = [
            item
            for group in self._groups.values()
            for priority, queue in group.queues.items()
            if priority > to
            for item in queue
        ]
        later.sort(key=lambda item: (item.priority, item.sequence))
        leaving: list[Item[P]] = []
        while missing > 0 and later:
            leaving.append(later.pop())
            missing -= leaving[-1].samples
        return leaving if missing <= 0 else None

    def discard(self, item: Item[P]) -> bool:
        """Take an item back. False if it does not wait: it ran, expired or was discarded."""
        if not item.waiting:
            return False
        self._remove(item)
        return True

    def poll(
        self,
        now: float,
        *,
        pieces: Callable[[Any], int] = lambda _: 1,
        takes: Callable[[int], float] = lambda _: 0.0,
    ) -> Poll[P]:
        """The next batch if there is one to run at `now`; poll again until there is none. `pieces`:
        as how many batches a group is to run, if it is not more anyway. `takes`: seconds until all
        has run that runs, or waits and does not go after a priority; 0 if that is not known.
        """
        expired = self._expire(now)
        wake = self.wake
        if wake is None or wake > now:
            return Poll([], expired, wake)
        leader, overtaken = self._leader(now)
        batch = self._take(leader, now, pieces=pieces, takes=takes)
        if overtaken is not None and overtaken.waiting:
            self._overtakings[leader.priority].append(next(self._sequence))
        return Poll(batch, expired, now)

    def _leader(self, now: float) -> tuple[Item[P], Item[P] | None]:
        """Who leads the next batch, and whom that overtakes if it is not a part of it."""
        pressing = self._pressing(now)
        if pressing is None:
            return self._next(now), None
        oldest = self._oldest(pressing.priority)
        latest = self._overtakings[pressing.priority]
        if len(latest) == MOST_OVERTAKEN and oldest.sequence < latest[0]:
            return oldest, None
        return pressing, oldest

    def _pressing(self, now: float) -> Item[P] | None:
        """Of the highest priority the item with the nearest deadline, if it has to run now."""
        first = self._deadlines[min(self._deadlines)].first()
        return first[1] if first is not None and first[1].presses <= now else None

    def _oldest(self, priority: int) -> Item[P]:
        """Whoever has waited longest of those of that priority, in whatever group."""
        queues = (group.queues.get(priority) for group in self._groups.values())
        return min((queue.oldest() for queue in queues if queue), key=lambda item: item.sequence)

    def _next(self, now: float) -> Item[P]:
        """The oldest of the group that is to run, in which nobody waits for a lower priority than
        somebody elsewhere.
        """
        first = self._due.first()
        if first is None:
            raise AssertionError("somebody is woken for nothing")
        due, item = first
        group = self._groups[next(iter(self._full)) if self._full and due > now else item.group]
        if len(self._groups) > 1:
            highest = min(self._deadlines)
            if group.highest > highest:
                others = (other for other in self._groups.values() if other.highest == highest)
                return min((other.oldest for other in others), key=lambda item: item.sequence)
        return group.oldest

    @property
    def wake(self) -> float | None:
        """When there is a batch to run, if nothing arrives before; None: not before an arrival."""
        first = self._due.first()
        if first is None:
            return None
        if self._full:
            return -math.inf
        due, oldest = first
        group = self._groups[oldest.group]
        return min(due, group.latest + oldest.saves / group.samples)

    def _expire(self, now: float) -> list[Item[P]]:
        """Remove what is past its deadline."""
        expired: list[Item[P]] = []
        for priority, deadlines in list(self._deadlines.items()):
            while (first := deadlines.first()) is not None and first[0] <= now:
                self._remove(first[1])
                expired.append(first[1])
            if first is None:
                del self._deadlines[priority]
        return expired

    def _take(
        self,
        leader: Item[P],
        now: float,
        *,
        pieces: Callable[[Any], int],
        takes: Callable[[int], float],
    ) -> list[Item[P]]:
        """Remove the leader, and as many items of its group as fit. What they delay counts where
        it has not the time of two whole batches: else it was the queue that was too long, and to
        cut batches makes it no shorter.
        """
        pace = leader.pace
        if pace is not None and leader.deadline - leader.arrived > 2 * pace.lasts(self._batch_size):
            pace = None
        group = self._groups[leader.group]
        most = min(group.most, -(-group.samples // pieces(leader.group)))
        whole = group.samples <= most and self.fits(group.samples, leader.length)
        if pace is None and whole and (alike := group.alike()):
            return self._take_all(alike, leader)
        batch = Batch[P](most, self._batch_tokens, now, pace)
        batch.add(leader)
        for item in self._of_its_origin(leader, now, takes):
            if not batch.takes(item):
                break  # nobody passes another of the same origin
            batch.add(item)
        taken = set(batch.items)
        for item in group.around(leader.length):
            if item in taken:
                continue
            if batch.takes(item):
                batch.add(item)
            elif batch.full:
                break
        for item in batch.items:
            self._remove(item)
        return batch.items

    def _of_its_origin(
        self, leader: Item[P], now: float, takes: Callable[[int], float]
    ) -> list[Item[P]]:
        """Those who may go with it before others that came a little earlier: where nothing else
        waits, all of it is alike, and as far as is known it runs in time in whatever order.
        """
        if len(self._groups) > 1:
            return []
        group = self._groups[leader.group]
        found = group.same_origin(leader, among=LOOKS_AT * group.most)
        if not found:
            return []
        nearest = self._deadlines[leader.priority].first()
        if nearest is None:
            raise AssertionError("whoever leads has a deadline")
        deadline, _ = nearest
        return found if 0 < AMPLE * takes(leader.priority) <= deadline - now else []

    def fits(self, samples: int, length: int) -> bool:
        """Whether so many are one batch, if all of them have that length."""
        tokens = self._batch_tokens
        most = self._batch_size
        return 1 <= samples <= most and (tokens is None or samples * length <= tokens)

    def _take_all(self, items: list[Item[P]], leader: Item[P]) -> list[Item[P]]:
        """What `_remove` would do for each of them, where that is the whole group."""
        group = self._groups.pop(leader.group)
        self._full.pop(leader.group, None)
        self._samples -= group.samples
        for item in items:
            item.waiting = False
        self._due.forget(len(items))
        self._deadlines[leader.priority].forget(len(items))
        if items[0] is not leader:
            items.remove(leader)
            items.insert(0, leader)
        return items

    def _is_full(self, group: Group[P]) -> bool:
        if group.samples >= group.most:
            return True
        return self._batch_tokens is not None and group.tokens >= self._batch_tokens

    def _remove(self, item: Item[P]) -> None:
        item.waiting = False
        self._due.forget()
        self._deadlines[item.priority].forget()
        self._samples -= item.samples
        group = self._groups[item.group]
        group.remove(item)
        if group.samples == 0:
            del self._groups[item.group]
        if not self._is_full(group):
            self._full.pop(item.group, None)
