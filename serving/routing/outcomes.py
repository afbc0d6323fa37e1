"""Outcomes: how the requests of one version went, in counts that can be added up.

The requests of a batch take equally long and often fail together, so they are one observation: each
counts as its share of the batch.
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

    @classmethod
    def of(cls, run: Run) -> Size:
        return cls(_level(run.samples), _level(run.tokens))


Durations = dict[Size, dict[int, float]]
"""Batches by size and duration: entry i counts those above edge i-1, up to edge i."""


@dataclass
class Outcomes:
    """What says something about the version: what it answered, and what it failed."""

    requests: int = 0
    ok: float = 0.0
    """Batches, as is `failed`."""
    failed: float = 0.0
    durations: Durations = field(default_factory=dict)
    """Of what was answered."""

    @property
    def count(self) -> float:
        return self.ok + self.failed

    def record(self, status: int, runs: Sequence[Run]) -> None:
        """One request was answered; `runs` has its parts, as far as they ran."""
        if status == OK:
            self.requests += 1
            for run in runs:
                self.ok += run.share
                self._took(Size.of(run), bisect_left(EDGES, run.seconds), run.share)
        elif status == FAULT:
            self.requests += 1
            self.failed += min((run.share for run in runs), default=1.0)

    def overdue(self, share: float) -> None:
        """A part with that share of its batch ran until nobody waited for it any more."""
        self.requests += 1
        self.failed += share

    def add(self, other: Outcomes) -> None:
        self.requests += other.requests
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
