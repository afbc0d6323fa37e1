"""Backoff: what failed is not tried again at once, and each time later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

FIRST_SECONDS = 60.0
BRIEF_SECONDS = 1.0
"""For what may be well again at any time."""
LONGEST_SECONDS = 3600.0


class Backoff:
    """Remembers failures by what failed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[Hashable, tuple[int, float, str]] = {}

    def failed(self, what: Hashable, reason: str, *, first: float = FIRST_SECONDS) -> None:
        """It failed now, if only once more. `first`: seconds until it is tried the second time."""
        count = self._failures.get(what, (0, 0.0, ""))[0] + 1
        delay = min(LONGEST_SECONDS, first * 2.0 ** (count - 1))
        self._failures[what] = (count, self._clock() + delay, reason)

    def reason(self, what: Hashable) -> str | None:
        """Why it is not to be tried now; None if it is."""
        _, until, reason = self._failures.get(what, (0, 0.0, ""))
        return reason if self._clock() < until else None

    def clear(self) -> None:
        """Everything may be tried again at once."""
        self._failures.clear()
