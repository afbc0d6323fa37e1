"""Streams: what an engine runs at the same time.

Whoever comes alone has all threads of a CPU. Where samples wait for each other, as many batches run
beside each other as there are streams, each on its share of the threads: these have fewer ends of
operators to wait for each other at, and lose nothing where other processes take a core from one of
them. So a busy CPU answers more, and a short batch is not behind a long one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from serving.batch import Item

P = TypeVar("P")

FEW_THREADS = 3
"""Up to so many each has a stream of its own."""
MOST_THREADS = 4
"""Of a stream, but where there are two: what more would add is lost in waiting for each other."""


def count_streams(threads: int) -> int:
    """How many batches to run at once on so many threads of a CPU."""
    return threads if threads <= FEW_THREADS else max(2, threads // MOST_THREADS)


@dataclass(eq=False, slots=True)
class Turn(Generic[P]):
    """A batch that runs."""

    batch: list[Item[P]]
    shared: bool
    """Whether it has one stream only, and others may begin."""
    began: float
    ends: float
    """When it should have run."""

    @property
    def samples(self) -> int:
        return sum(item.samples for item in self.batch)


class Streams(Generic[P]):
    """Of one engine."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.turns: list[Turn[P]] = []
        """What runs."""
        self._crowded = False
        """Whether something waited when the latest turn ended."""

    @property
    def free(self) -> int:
        """How many batches may begin now."""
        if any(not turn.shared for turn in self.turns):
            return 0
        return self.count - len(self.turns)

    @property
    def shared(self) -> bool:
        """Whether what begins now is to have one stream only: others run, or have had to wait."""
        return self.count > 1 and (self._crowded or bool(self.turns))

    def end(self, turn: Turn[P], *, crowded: bool) -> None:
        """It has run; `crowded`: whether anything waits."""
        self.turns.remove(turn)
        self._crowded = crowded

    def left(self, now: float) -> float:
        """Seconds that one stream would need for the rest of all that runs."""
        left = 0.0
        for turn in self.turns:
            left += max(0.0, turn.ends - now) * (1 if turn.shared else self.count)
        return left


def split(batch: list[Item[P]], pieces: int) -> list[list[Item[P]]]:
    """The batch in at most so many pieces of about as many samples, each of those that are nearest
    in length; the leader is in the first.
    """
    pieces = min(pieces, len(batch))
    if pieces <= 1:
        return [batch]
    leader = batch[0]
    found: list[list[Item[P]]] = [[] for _ in range(pieces)]
    samples, total = 0, sum(item.samples for item in batch)
    for item in sorted(batch, key=lambda item: item.length):
        found[samples * pieces // total].append(item)
        samples += item.samples
    found.sort(key=lambda piece: leader not in piece)
    return [piece for piece in found if piece]
