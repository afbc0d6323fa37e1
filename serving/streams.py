"""Streams: what an engine runs at the same time.

Whoever comes alone has all threads of a CPU, and is answered soonest so. Where samples have to wait
for each other, batches run beside each other, each on one thread: these have no ends of operators
to wait for each other at, and lose nothing where another process takes a core from one of them. So
a busy CPU answers more, and nobody waits behind all that came before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from serving.batch import Item

P = TypeVar("P")

FEW_THREADS = 4
"""Up to so many each has a stream of its own. With more it was never measured."""


def count_streams(threads: int) -> int:
    """How many batches to run at once on so many threads of a CPU, if nobody says."""
    return threads if threads <= FEW_THREADS else 1


@dataclass(eq=False, slots=True)
class Turn(Generic[P]):
    """A batch that runs."""

    batch: list[Item[P]]
    shared: bool
    """Whether others may run beside it."""
    began: float
    ends: float
    """When it should have run."""

    @property
    def samples(self) -> int:
        return sum(item.samples for item in self.batch)

    @property
    def tokens(self) -> int:
        """With their padding."""
        return self.samples * max(item.length for item in self.batch)


class Streams(Generic[P]):
    """Of one engine."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.turns: list[Turn[P]] = []
        """What runs."""
        self.waited = False
        """Whether somebody who waits did so when the latest turn ended."""
        self.rests_until = 0.0
        """When the next turn may begin."""

    @property
    def free(self) -> int:
        """How many batches may begin now."""
        if any(not turn.shared for turn in self.turns):
            return 0
        return self.count - len(self.turns)

    @property
    def shared(self) -> bool:
        """Whether batches run on one stream each."""
        return any(turn.shared for turn in self.turns)

    def end(self, turn: Turn[P], *, waits: bool) -> None:
        """It has run; `waits`: whether anything does."""
        self.turns.remove(turn)
        self.waited = waits

    def left(self, now: float) -> float:
        """Seconds that one stream would need for the rest of all that runs."""
        left = 0.0
        for turn in self.turns:
            left += max(0.0, turn.ends - now) * (1 if turn.shared else self.count)
        return left
