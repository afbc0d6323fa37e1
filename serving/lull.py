"""Lull: how long a pause in a model's arrivals its batches wait out."""

from __future__ import annotations

PATIENCE = 8
"""Waits in vain, one after the other, that halve it."""
LEAST = 1 / 16
"""Share of the longest below which it does not fall."""


class Lull:
    """Whoever waited through a whole lull and met nobody waited for nothing: after some of these it
    is halved. Whoever came late in one doubles it, up to `longest`.
    """

    def __init__(self, longest: float) -> None:
        """In seconds."""
        self._longest = longest
        self._in_vain = 0
        self.seconds = longest

    def met(self, pause: float) -> None:
        """Somebody came, so long after the one before."""
        self._in_vain = 0
        if pause > self.seconds / 2:
            self.seconds = min(self._longest, 2 * self.seconds)

    def in_vain(self) -> None:
        """Nobody came."""
        self._in_vain += 1
        if self._in_vain == PATIENCE:
            self._in_vain = 0
            self.seconds = max(LEAST * self._longest, self.seconds / 2)
