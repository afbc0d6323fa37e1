"""Halt: the process that holds the shadows stands still while requests are with the workers.

The lowest priority is not enough where the engine may want every core: the scheduler gives a core
back late, and one request in a hundred waits for its next tick. So whoever has requests stops that
process (SIGSTOP), and it goes on when nobody has had any for a while. Where somebody always has one
it is given a moment every now and then, in which nobody stops it: it still hears what it is told,
and is not starved.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
import time
from mmap import mmap
from typing import TYPE_CHECKING

from bundle.engine.cores import available_cores
from bundle.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.settings import Settings

log = logging.getLogger(__name__)

QUIET_SECONDS = 0.005
"""Without requests until it goes on: the next one may come at once, and each signal costs time."""
LONGEST_SECONDS = 1.0
"""Without a moment."""
MOMENT_SECONDS = 0.01
SUPPORTED = hasattr(os, "pidfd_open")
"""On Linux: a process that is meant by its number alone may be another one by then."""
_UNTIL = struct.Struct("d")
"""When the last moment ends, by the monotonic clock, which all processes share."""
_COMPUTES_ELSEWHERE = ("cuda", "tensorrt")


def every_core_is_wanted(settings: Settings) -> bool:
    """Whether API processes and engines leave none to shadows."""
    cores = available_cores()
    threads = 1 if settings.provider in _COMPUTES_ELSEWHERE else settings.threads or cores
    return settings.api_processes + settings.workers * threads >= cores


def be_haltable() -> None:
    """For the process that is to be stopped: while it is, it does not see its parent die, and
    nobody would let it go on.

    It leaves its parent's process group: the system may hang up on one of which a process is
    stopped.
    """
    if SUPPORTED:
        end_with_parent(os.getppid(), signal.SIGKILL)
        os.setpgid(0, 0)


class Board:
    """Which API processes have requests, in memory that all of them share."""

    def __init__(self, api_processes: int) -> None:
        self._memory = mmap(-1, _UNTIL.size + api_processes)

    def busy(self, index: int, busy: bool) -> None:
        """Whether that API process has requests."""
        self._memory[_UNTIL.size + index] = busy

    @property
    def any_busy(self) -> bool:
        """Whether any has."""
        return any(self._memory[_UNTIL.size :])

    def give_moment(self, seconds: float) -> None:
        """Nobody stops the shadows for so long."""
        _UNTIL.pack_into(self._memory, 0, time.monotonic() + seconds)

    @property
    def moment(self) -> float:
        """Seconds that are left of it; not above 0 where there is none."""
        return float(_UNTIL.unpack_from(self._memory)[0]) - time.monotonic()


class Halt:
    """What one API process does; on one event loop."""

    def __init__(self, board: Board | None = None, index: int = 0) -> None:
        """None stops nothing."""
        self._stops = board is not None and SUPPORTED
        self._board = Board(index + 1) if board is None else board
        self._index = index
        self._requests = 0
        self._process: int | None = None
        """A descriptor of who is stopped; as long as there is none, nothing is."""
        self._quiet: asyncio.TimerHandle | None = None
        """Pending since the last request."""
        self._timer: asyncio.TimerHandle | None = None
        """Pending at least as long as there are requests."""

    def of(self, pid: int) -> None:
        """That process holds the shadows from now on."""
        self._forget()
        if not self._stops:
            return
        try:
            self._process = os.pidfd_open(pid)
        except OSError as error:  # it may have died already
            _log_unstoppable(error)
            return
        self._stop_or_go_on()

    def begin(self) -> None:
        """A request is on its way to a worker."""
        self._requests += 1
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        elif self._requests == 1:
            self._stop()

    def end(self) -> None:
        """It has come back."""
        self._requests -= 1
        if not self._requests and self._process is not None:
            self._quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._is_quiet)

    def _is_quiet(self) -> None:
        self._quiet = None
        self._go_on()

    def _stop_or_go_on(self) -> None:
        self._stop() if self._requests or self._quiet is not None else self._go_on()

    def _stop(self) -> None:
        """Until somebody lets it go on, and for LONGEST_SECONDS at most."""
        if self._process is None:
            return
        self._board.busy(self._index, True)
        left = self._board.moment
        if left <= 0.0:
            self._send(signal.SIGSTOP)
            self._wait(LONGEST_SECONDS, self._give_moment)
        else:
            self._wait(left, self._moment_over)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _give_moment(self) -> None:
        self._timer = None
        self._board.give_moment(MOMENT_SECONDS)
        self._send(signal.SIGCONT)
        self._wait(MOMENT_SECONDS, self._moment_over)

    def _moment_over(self) -> None:
        self._timer = None
        self._stop_or_go_on()

    def _go_on(self) -> None:
        """Unless another API process has requests: then it is the last one of them that does so,
        or the timer.
        """
        self._board.busy(self._index, False)
        if not self._board.any_busy:
            self._cancel()
            self._send(signal.SIGCONT)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            try:
                signal.pidfd_send_signal(self._process, number)
            except ProcessLookupError:
                self._forget()
            except OSError as error:  # the system may forbid it
                _log_unstoppable(error)
                self._forget()

    def _forget(self) -> None:
        self._cancel()
        self._board.busy(self._index, False)
        if self._process is not None:
            os.close(self._process)
            self._process = None


def _log_unstoppable(error: OSError) -> None:
    log.warning(
        "the process of the shadows cannot be stopped while there are requests",
        extra={"fields": {"reason": str(error)}},
    )
