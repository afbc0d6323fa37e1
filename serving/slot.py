"""Slot: a place in the server that a process fills, and that its replacements fill after it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from serving.control import Failed

API = "api"
WORKER = "worker"
WATCHER = "watcher"
SHADOW = "shadow"
"""A worker for versions that answer nobody: what becomes of it is of no consequence."""

STABLE_SECONDS = 30.0
"""A process that was ready for so long has started well; what happened before is forgotten."""
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 10.0
"""Back-off between the second and any later replacement of one process."""
MOST_FAILED_STARTS = 5
"""After so many replacements that did not get ready in a row there is no use in another."""


@dataclass
class Child:
    """A process that runs, or has just died."""

    process: BaseProcess
    control: Connection
    ready_since: float | None = None
    reason: Failed | None = None
    """What it said before it left."""
    unsaid: deque[object] = field(default_factory=deque)
    """What it is to be told when there is room in its pipe."""

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    @property
    def why(self) -> str:
        """Why it is dead."""
        return self.reason.reason if self.reason else f"exit code {self.process.exitcode}"


@dataclass
class Slot:
    """One place."""

    kind: str
    index: int
    child: Child | None = None
    generation: int = 0
    failures: int = 0
    """Deaths in a row, each soon after the start."""
    restart_at: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.index}"

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.ready_since is not None

    def plan_restart(self, child: Child) -> float | None:
        """Soon, or a little later each time: the delay in seconds.

        None if it never gets ready, and without it the server cannot do its part.
        """
        now = time.monotonic()
        since = child.ready_since
        stable = since is not None and now - since > STABLE_SECONDS
        self.failures = 1 if stable else self.failures + 1
        vital = self.kind not in (WATCHER, SHADOW)
        if since is None and self.failures > MOST_FAILED_STARTS and vital:
            return None
        delay = 0.0
        if self.failures > 1:
            delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (self.failures - 2))
        self.restart_at = now + delay
        return delay
