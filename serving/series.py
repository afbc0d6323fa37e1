"""Series of prometheus_client, written in a few steps, where each request writes a dozen numbers.

Its own way asks at every number whether the process has forked, and whether the metric has labels
that were not given. These are made after the fork, with their labels, and each is written by one
thread at a time, into the file alone. The files stay what they are: a number of 8 bytes and a time
of 8, which is 0.
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


class Buckets(Protocol):
    """A histogram."""

    def observe(self, amount: float) -> None: ...


class _FileCell:
    """A number in a file, where it lies at a multiple of its 8 bytes: a reader, who may look at any
    time, never sees half of it.
    """

    __slots__ = ("_numbers", "_place")

    def __init__(self, value: Any) -> None:
        self._numbers = _numbers(value)
        self._place = _place(value)

    def inc(self, amount: float) -> None:
        self._numbers[self._place] += amount

    def set(self, value: float) -> None:
        self._numbers[self._place] = value


class _FileBuckets:
    """All of a histogram's numbers are in one file."""

    __slots__ = ("_bounds", "_counts", "_numbers", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._bounds = histogram._upper_bounds  # noqa: SLF001
        self._numbers = _numbers(histogram._sum)  # noqa: SLF001
        self._sum = _place(histogram._sum)  # noqa: SLF001
        self._counts = [_place(value) for value in histogram._buckets]  # noqa: SLF001

    def observe(self, amount: float) -> None:
        numbers = self._numbers
        numbers[self._sum] += amount
        numbers[self._counts[bisect_left(self._bounds, amount)]] += 1


def _numbers(value: Any) -> memoryview[float]:
    """Those of its file. The memory remains the file's where that grows and is mapped anew."""
    file = value._file  # noqa: SLF001 - there is no public way; test_metrics.py guards it
    return memoryview(file._m).cast("d")  # noqa: SLF001


def _place(value: Any) -> int:
    place: int = value._file._positions[value._key] // 8  # noqa: SLF001
    return place


def buckets(histogram: Histogram) -> Buckets:
    """Of a histogram, which may be in this process alone."""
    return _FileBuckets(histogram) if _in_file(histogram._sum) else histogram  # noqa: SLF001


def number(metric: Counter | Gauge) -> Cell:
    """Of a counter or a gauge."""
    value = metric._value  # noqa: SLF001
    return _FileCell(value) if _in_file(value) else value


def _in_file(value: Any) -> bool:
    return hasattr(value, "_file")
