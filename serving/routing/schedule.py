"""Schedule: when the watcher looks at the registry next."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from serving.routing.backoff import BRIEF_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_PAUSE = 1.0
"""Seconds between two looks, however often somebody rings."""
SHORTEST_POLL = 0.8
"""Share of the period after which a look may come: servers that were started together shall not ask
together. It never comes later than the period, which is what an operator counts on."""
LONGEST_RETRY = 60.0
"""Seconds until the registry is told again what it could not be told."""


class Schedule:
    """By the period, when somebody rings, and as long as the registry is owed something."""

    def __init__(self, period: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`period` in seconds; 0 for none. The first look comes at once if there is one."""
        self._period = period
        self._clock = clock
        self._next = clock() if period else math.inf
        self._earliest = -math.inf
        self._retry = math.inf
        self._retries = 0

    def seconds(self) -> float | None:
        """Until the next look; None where none is to come."""
        due = min(self._next, self._retry)
        return max(0.0, due - self._clock()) if math.isfinite(due) else None

    def ring(self) -> None:
        """Look at once, or as soon as another look may come."""
        self._next = min(self._next, max(self._clock(), self._earliest))

    def looked(self) -> None:
        """Just now."""
        now = self._clock()
        pause = self._period * random.uniform(SHORTEST_POLL, 1.0) if self._period else math.inf
        self._next, self._earliest = now + pause, now + SHORTEST_PAUSE
        self._retry = math.inf

    def owing(self, owed: bool) -> None:
        """Whether there is something that the registry could not be told: a look tells it again."""
        if not owed:
            self._retry, self._retries = math.inf, 0
        elif self._retry == math.inf:
            delay = min(LONGEST_RETRY, BRIEF_SECONDS * 2.0**self._retries)
            self._retry, self._retries = self._clock() + delay, self._retries + 1
