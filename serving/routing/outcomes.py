"""Outcomes: how the requests of one version went, in counts that can be added up."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

FIRST_SECONDS = 0.0005
RATIO = 1.05
EDGES = tuple(FIRST_SECONDS * RATIO**step for step in range(256))
"""Seconds, from half a millisecond to two minutes."""

OK = 200
FAULTS = frozenset({500, 504})
"""What a version is to blame for. A shed (429, 503) is the server's doing, 4xx the client's."""


@dataclass
class Outcomes:
    """Requests that say something about the version: answered, or failed by it."""

    ok: int = 0
    failed: int = 0
    slower: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    """Answered ones by duration: entry i counts those above edge i-1, up to edge i."""

    @property
    def count(self) -> int:
        return self.ok + self.failed

    @property
    def above(self) -> list[int]:
        """Of the answered ones, how many took longer than each edge."""
        return [self.ok - passed for passed in accumulate(self.slower[:-1])]

    def record(self, status: int, seconds: float) -> None:
        """One request was answered."""
        if status == OK:
            self.ok += 1
            self.slower[bisect_left(EDGES, seconds)] += 1
        elif status in FAULTS:
            self.failed += 1

    def add(self, other: Outcomes) -> None:
        self.ok += other.ok
        self.failed += other.failed
        self.slower = [sum(pair) for pair in zip(self.slower, other.slower, strict=True)]
