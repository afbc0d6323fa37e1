"""Series of prometheus_client, written in a few steps, where each request writes a dozen numbers.

Its own way asks at every number whether the process has forked, and whether the metric has labels
that were not given. These are made after the fork, with their labels, and each is written by one
thread, into the file alone. The files stay what they are: a number of 8 bytes and a time of 8,
which is 0.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram


class Cell(Protocol):
    """One number."""

    def inc(self, amount: float) -> None: ...

    def set(self, value: float) -> None: ...


class _FileCell:
    """A number in a file, where it lies at a multiple of its 8 bytes: a reader, who may look at any
    time, never sees half of it.
    """

    __slots__ = ("_numbers", "_place")

    def __init__(self, value: Any) -> None:
        file = value._file  # noqa: SLF001 - there is no public way; test_metrics.py guards it
        # The memory remains the file's where that grows and is mapped anew.
        self._numbers = memoryview(file._m).cast("d")  # noqa: SLF001
        self._place = file._positions[value._key] // 8  # noqa: SLF001

    def inc(self, amount: float) -> None:
        self._numbers[self._place] += amount

    def set(self, value: float) -> None:
        self._numbers[self._place] = value


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
