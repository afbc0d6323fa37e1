"""Crowd: how many connections each API process has, in memory that all of them share."""

from __future__ import annotations

from mmap import mmap

_BYTES = 4


class Crowd:
    """Of one server. Who has died keeps its number until another takes its place."""

    def __init__(self, api_processes: int) -> None:
        self._numbers = memoryview(mmap(-1, api_processes * _BYTES)).cast("I")

    def place(self, index: int) -> Place:
        """That API process's."""
        return Place(self._numbers, index)


class Place:
    """What one API process tells of itself, and sees of the others."""

    def __init__(self, numbers: memoryview[int], index: int) -> None:
        self._numbers = numbers
        self._index = index
        self.tell(0)

    def tell(self, connections: int) -> None:
        """It has so many."""
        self._numbers[self._index] = connections

    @property
    def crowded(self) -> bool:
        """Whether another one has fewer."""
        return min(self._numbers) < self._numbers[self._index]
