"""Batch: samples that run at once, and which of them may be padded to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

P = TypeVar("P")

MOST_STRETCH = 2
"""A sample is padded to at most so many times its length: beyond it runs cheaper in a batch of its
own."""
SHORT = 16
"""Samples of fewer tokens count as if they had these: what a batch costs of its own outweighs their
padding."""


class Pace(NamedTuple):
    """What batches take, in seconds."""

    fixed: float
    """However few samples there are."""
    each: float
    """Of a sample."""

    def lasts(self, samples: int) -> float:
        return self.fixed + self.each * samples


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
    presses: float = math.inf
    """From when on it would be too late behind another batch."""
    saves: float = math.inf
    """Seconds that one more to share its batch with would save."""
    pace: Pace | None = None
    """Of batches that it leads, in so far as that differs by their samples."""
    length: int = 1
    """Tokens of its longest sample, to which the others of a batch are padded."""
    priority: int = 1
    """1 goes first."""
    alone: bool = False
    """Whether nothing can run along with it, as it is with all of its group."""
    origin: Hashable = None
    """Who is told of it. Those of one origin may run together before others; None is one too."""
    waiting: bool = field(default=False, init=False)
    sequence: int = field(default=-1, init=False)
    """Its place in the order of arrival."""


class Batch(Generic[P]):
    """A batch in the making. Where a pace is known, nobody joins for whom it would end past the
    nearest deadline; what could not be met by a batch of its own does not count, as it may be the
    pace that is wrong.
    """

    def __init__(
        self,
        most_samples: int,
        most_tokens: int | None,
        begins: float = 0.0,
        pace: Pace | None = None,
    ) -> None:
        self.items: list[Item[P]] = []
        self._samples = 0
        self._shortest = self._longest = 0
        self._most_samples = most_samples
        self._most_tokens = most_tokens
        self._begins = begins
        self._pace = pace
        self._nearest = math.inf
        """Deadline of those that it can meet, as far as is known."""

    @property
    def full(self) -> bool:
        """Whether not even one more sample of the same length fits."""
        samples = self._samples + 1
        return (
            samples > self._most_samples
            or self._exceeds(samples * self._longest)
            or (self._pace is not None and self._begins + self._pace.lasts(samples) > self._nearest)
        )

    def takes(self, item: Item[P]) -> bool:
        """Whether the item fits, and neither pads nor delays anybody, itself included, too much."""
        if not self.items:
            return True
        shortest, longest = min(self._shortest, item.length), max(self._longest, item.length)
        samples = self._samples + item.samples
        return (
            samples <= self._most_samples
            and not self._exceeds(samples * longest)
            and alike(shortest, longest)
            and (self._pace is None or not self._delays(item, samples, self._pace))
        )

    def add(self, item: Item[P]) -> None:
        if not self.items:
            self._shortest = self._longest = item.length
        elif item.length < self._shortest:
            self._shortest = item.length
        elif item.length > self._longest:
            self._longest = item.length
        self._samples += item.samples
        self.items.append(item)
        if (
            self._pace is not None
            and self._begins + self._pace.lasts(self._samples) <= item.deadline < self._nearest
        ):
            self._nearest = item.deadline

    def _delays(self, item: Item[P], samples: int, pace: Pace) -> bool:
        """Whether so many samples are too many for it, or for those that are in the batch."""
        ends = self._begins + pace.lasts(samples)
        if ends > self._nearest:
            return True
        return ends > item.deadline >= self._begins + pace.lasts(item.samples)

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
