"""Split: whose request goes to which version, the same in every process and after a restart.

A key falls into one of 10,000 buckets by its hash, and a version owns a contiguous range of them.
The last range is the champion's, or that of the lowest number where the champion has no share: a
challenger whose share grows keeps whom it had.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from bundle.shares import LEAST, reference, withdrawn

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKETS = 10_000


def bucket(salt: str, key: str) -> int:
    """From 0 to 9,999."""
    digest = hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest) % BUCKETS


@dataclass(frozen=True)
class Split:
    """Versions in the order of their ranges, each with the bucket after its last."""

    ends: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, percent: Mapping[int, float], *, champion: int | None) -> Split:
        """The shares of a registry's routing, which are in hundredths and sum to 100."""
        last = reference(percent, champion)
        order = sorted(percent, key=lambda number: (number == last, number))
        ends = accumulate(round(percent[number] / LEAST) for number in order)
        return cls(tuple((str(number), end) for number, end in zip(order, ends, strict=True)))

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(version for version, _ in self.ends)

    @property
    def reference(self) -> str:
        """The version that the others are compared with, and that has what they lose."""
        return self.versions[-1]

    @property
    def challengers(self) -> tuple[str, ...]:
        """All others."""
        return self.versions[:-1]

    def without(self, challenger: str) -> Split:
        """What it had is the reference's."""
        percent = {int(version): share for version, share in self.shares.items()}
        heir = int(self.reference)
        return Split.of(withdrawn(percent, int(challenger), heir=heir), champion=heir)

    @property
    def shares(self) -> dict[str, float]:
        """Percent by version, as far as whole buckets can tell."""
        starts = [0, *(end for _, end in self.ends)]
        return {
            version: (end - start) * 100 / BUCKETS
            for (version, end), start in zip(self.ends, starts, strict=False)
        }

    def pick(self, number: int) -> str:
        """The version that owns the bucket of that number."""
        return self.ends[bisect_right(self._bounds, number)][0]

    @cached_property
    def _bounds(self) -> list[int]:
        return [end for _, end in self.ends[:-1]]
