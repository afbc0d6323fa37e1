"""What the supervisor and its processes tell each other, over one pipe each.

A process that hears nothing of its supervisor any more leaves: mostly it is dead.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import TYPE_CHECKING

from bundle.command import describe
from bundle.errors import RequestError, TrainyardError
from serving.errors import StartError
from serving.vital import vital_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from serving.drain import DrainPlan

log = logging.getLogger(__name__)

ORPHANED = 70
"""Exit code of a process that cannot hear its supervisor any more."""
FLUSH_SECONDS = 1.0
DEATH_SECONDS = 0.5
DEATH_LOOKS = 50
"""How long, and how often in it, it is looked whether the supervisor is dead."""
_END = object()


@dataclass(frozen=True)
class Ready:
    """Process → supervisor: it can do its part."""


@dataclass(frozen=True)
class Failed:
    """Process → supervisor: why it leaves."""

    reason: str
    exit_code: int

    @classmethod
    def of(cls, error: TrainyardError) -> Failed:
        """What is left of the error when it crosses a pipe."""
        return cls(describe(error), error.exit_code)

    def error(self) -> TrainyardError:
        """An error that ends the command as the original would have."""
        if self.exit_code == RequestError.exit_code:
            return RequestError(self.reason)
        return StartError(self.reason)


@dataclass(frozen=True)
class WorkerUp:
    """Supervisor → API process: a worker listens there."""

    address: Path


@dataclass(frozen=True)
class ShadowUp:
    """Supervisor → API process: the worker that holds the shadows listens there."""

    address: Path
    pid: int


@dataclass(frozen=True)
class Drain:
    """Supervisor → API process: finish, and leave."""

    plan: DrainPlan


@dataclass(frozen=True)
class Stop:
    """Supervisor → worker: leave."""


class Sender:
    """Tells the supervisor, on a thread of its own: whoever has something to say never waits."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = vital_thread("sender", self._run)

    def send(self, message: object) -> None:
        """From any thread; in this order."""
        self._messages.put(message)

    def close(self) -> None:
        """Wait, but not for ever, until all is said."""
        self._messages.put(_END)
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while (message := self._messages.get()) is not _END:
            try:
                self._control.send(message)
            except OSError:  # the other side is gone, which whoever listens to it sees too
                return


def listen(control: Connection, *, directory: Path, on_message: Callable[[object], object]) -> None:
    """Call back, on a thread, with what the supervisor says.

    When nothing is heard of it any more, leave the process; when it has died, remove the folder
    that was its to remove.
    """
    parent = parent_process()  # who began this one, also where it is dead by now
    supervisor = os.getppid() if parent is None else parent.pid

    def run() -> None:
        while True:
            try:
                message = control.recv()
            except (EOFError, OSError):
                if _has_died(supervisor):
                    shutil.rmtree(directory, ignore_errors=True)
                else:
                    log.error("the supervisor cannot be heard")  # noqa: TRY400 - it has hung up
                os._exit(ORPHANED)
            on_message(message)

    vital_thread("control", run)


def _has_died(supervisor: int | None) -> bool:
    """Whether this process has another parent: it gets one shortly after the pipe has ended."""
    for _ in range(DEATH_LOOKS):
        if os.getppid() != supervisor:
            return True
        time.sleep(DEATH_SECONDS / DEATH_LOOKS)
    return False
