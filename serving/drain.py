"""Starting, ready, draining: where an API process is in its life, and the way out of it."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """One timetable for all processes, on time.monotonic's clock."""

    accept_until: float
    """Until then new requests are still taken, so that whoever routes here can take note."""
    deadline: float
    """What is not answered by then is answered 503."""

    @classmethod
    def begin(cls, *, delay_ms: float, timeout_ms: float) -> DrainPlan:
        """A plan that starts now."""
        now = time.monotonic()
        return cls(now + delay_ms / 1000, now + (delay_ms + timeout_ms) / 1000)


class Lifecycle:
    """What probes ask about."""

    def __init__(self, *, expected_workers: int, first: bool = True) -> None:
        """`first`: whether the whole server starts, which takes all workers; a process that is
        started in place of another has enough in one.
        """
        self._expected = expected_workers
        self._needed = expected_workers if first else 1
        self._workers = 0
        self._started = False
        self._draining = False

    def update(self, *, workers: int) -> None:
        """That many workers can be used now."""
        self._workers = workers
        self._started = self._started or workers >= self._needed

    def drain(self) -> None:
        """From now on the server is on its way out."""
        self._draining = True

    @property
    def status(self) -> str:
        """starting, ready, degraded (a worker is missing) or draining."""
        if self._draining:
            return "draining"
        if not self._started:
            return "starting"
        return "ready" if self._workers >= self._expected else "degraded"

    @property
    def started(self) -> bool:
        """Whether the server has been ready at any time."""
        return self._started

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self._started and not self._draining and self._workers > 0

    @property
    def draining(self) -> bool:
        """Whether the server is on its way out."""
        return self._draining
