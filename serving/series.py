"""Series of prometheus_client, written in a few steps, where each request writes a dozen numbers.

Its own way asks at every number whether the process has forked, and whether the metric has labels
that were not given. These are made after the fork, with their labels, and each is written by one
thread. The files stay what they are: a number of 8 bytes and a time of 8, which is 0.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

_pack = struct.Struct("dd").pack


class Cell(Protocol):
    """One number."""

    def inc(self, amount: float) -> None: ...


class _FileCell:
    """A number that is in a file, too."""

    __slots__ = ("_file", "_place", "_value")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._file = value._file  # noqa: SLF001 - there is no public way; test_metrics.py guards it
        start = self._file._positions[value._key]  # noqa: SLF001
        self._place = slice(start, start + 16)

    def inc(self, amount: float) -> None:
        value = self._value
        value._value += amount  # noqa: SLF001
        # All of it at once, as prometheus_client does: a reader may look at any time.
        self._file._m[self._place] = _pack(value._value, 0.0)  # noqa: SLF001


class Buckets:
    """A histogram."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._bounds = histogram._upper_bounds  # noqa: SLF001
        self._counts = [cell(value) for value in histogram._buckets]  # noqa: SLF001
        self._sum = cell(histogram._sum)  # noqa: SLF001

    def observe(self, amount: float) -> None:
        self._sum.inc(amount)
        self._counts[bisect_left(self._bounds, amount)].inc(1)


def cell(value: Any) -> Cell:
    """Of one of prometheus_client's values, which may be in this process alone."""
    return _FileCell(value) if hasattr(value, "_file") else value


def number(metric: Counter | Gauge) -> Cell:
    """Of a counter or a gauge."""
    return cell(metric._value)  # noqa: SLF001
