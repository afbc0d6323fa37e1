"""Crowd: how many connections each API process has, in memory that all of them share."""

from __future__ import annotations

from mmap import mmap

_BYTES = 4
_ABSENT = 2**32 - 1
"""More than anybody has: who takes no connections has not fewer than others."""


class Crowd:
    """Of one server. In its places nobody stands, at first."""

    def __init__(self, api_processes: int) -> None:
        self._numbers = memoryview(mmap(-1, api_processes * _BYTES)).cast("I")
        for index in range(api_processes):
            self.leave(index)

    def place(self, index: int) -> Place:
        """That API process's."""
        return Place(self._numbers, index)

    def leave(self, index: int) -> None:
        """That API process is dead: nobody is to wait until it has more."""
        self._numbers[index] = _ABSENT


class Place:
    """What one API process tells of itself, and sees of the others."""

    def __init__(self, numbers: memoryview[int], index: int) -> None:
        self._numbers = numbers
        self._index = index
        self._connections = 0
        self._left = False

    def tell(self, connections: int) -> None:
        """It has so many. From the first time on the others leave it some, so it begins with none
        when it takes them.
        """
        self._connections = connections
        if not self._left:
            self._numbers[self._index] = connections

    def leave(self) -> bool:
        """It takes no more connections. Whether nobody else does: of several that leave at the same
        time at least one is told so.
        """
        self._left = True
        self._numbers[self._index] = _ABSENT
        return min(self._numbers) == _ABSENT

    @property
    def crowded(self) -> bool:
        """Whether another one has fewer."""
        return min(self._numbers) < self._connections
