"""Outcomes: how the requests of one version went, in counts that can be added up.

The requests of a batch take equally long and often fail together, so they are one observation: each
counts as its share of the batch, and a request in several parts as what these have of theirs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.run import Run

FIRST_SECONDS = 0.0005
RATIO = 1.05
EDGES = tuple(FIRST_SECONDS * RATIO**step for step in range(256))
"""Seconds, from half a millisecond to two minutes."""
SIZE_RATIO = 1.1
"""Batches whose samples and tokens differ by less than this factor are alike."""

OK = 200
FAULT = 500
"""What a version is to blame for. A shed (429, 503) is the server's doing, 4xx the client's; whose
a 504 is only the worker knows, see `Outcomes.overdue`."""


class Size(NamedTuple):
    """Batches that may be compared."""

    samples: int
    tokens: int
    shared: bool = False
    """Whether others ran beside them."""

    @classmethod
    def of(cls, run: Run) -> Size:
        return cls(_level(run.samples), _level(run.tokens), run.shared)

    def __str__(self) -> str:
        found = _numbers(self.samples, "sample")
        if self.tokens:
            found = f"{found}, {_numbers(self.tokens, 'token')}"
        return f"{found}, beside others" if self.shared else found


Durations = dict[Size, dict[int, float]]
"""Batches by size and duration: entry i counts those above edge i-1, up to edge i."""


@dataclass
class Outcomes:
    """What says something about the version: what it answered, and what it failed."""

    ok: float = 0.0
    """Batches, as is `failed`."""
    failed: float = 0.0
    durations: Durations = field(default_factory=dict)
    """Of what did not fail."""

    @property
    def count(self) -> float:
        return self.ok + self.failed

    def record(self, status: int, runs: Sequence[Run]) -> None:
        """One request was answered; `runs` has its parts, as far as they ran.

        A fault is of the parts that failed; where all ran, or none did, it is of the whole.
        """
        if status not in (OK, FAULT):
            return
        failed = [run for run in runs if run.failed]
        if status == FAULT and not failed:
            self.failed += sum(run.share for run in runs) if runs else 1.0
            return
        self.failed += sum(run.share for run in failed)
        for run in runs:
            if not run.failed:
                self.ok += run.share
                self._took(Size.of(run), bisect_left(EDGES, run.seconds), run.share)

    def overdue(self, share: float) -> None:
        """A part with that share of its batch ran until nobody waited for it any more."""
        self.failed += share

    def add(self, other: Outcomes) -> None:
        self.ok += other.ok
        self.failed += other.failed
        for size, taken in other.durations.items():
            for entry, share in taken.items():
                self._took(size, entry, share)

    def _took(self, size: Size, entry: int, share: float) -> None:
        taken = self.durations.setdefault(size, {})
        taken[entry] = taken.get(entry, 0.0) + share


def _level(number: int) -> int:
    return int(math.log(max(1, number)) / math.log(SIZE_RATIO) + 1e-9)


def _numbers(level: int, noun: str) -> str:
    """Those that are on the level."""
    first, after = (math.ceil(SIZE_RATIO**step - 1e-6) for step in (level, level + 1))
    if after <= first + 1:
        return f"{first} {noun}" if first == 1 else f"{first} {noun}s"
    return f"{first} to {after - 1} {noun}s"
