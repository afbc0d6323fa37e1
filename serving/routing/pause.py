"""Pause: keeps the process that holds the shadows still while requests are with the workers.

The lowest priority is not enough where the engine may want every core: the scheduler gives a core
back late, and one request in a hundred waits for its next tick. So whoever has requests stops that
process, and it goes on when nobody has any; or after LONGEST_SECONDS, so that a shadow is asked
something also where there is always a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

from bundle.engine.cores import available_cores

if TYPE_CHECKING:
    from mmap import mmap

    from serving.settings import Settings

LONGEST_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
SUPPORTED = hasattr(os, "pidfd_open")
"""On Linux: a number alone may be another process by now."""


def every_core_is_wanted(settings: Settings) -> bool:
    """Whether API processes and engines leave none to shadows."""
    cores = available_cores()
    engines = settings.workers * (settings.threads or cores)
    return settings.api_processes + engines >= cores


def leave_with_parent() -> None:
    """Who is still does not see that its parent died, and nobody would let it go on."""
    with contextlib.suppress(AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Pause:
    """What one API process does to it; on one event loop."""

    def __init__(self, busy: mmap | None = None, index: int = 0) -> None:
        """`busy`: a byte for each API process, which all of them share; None to pause nothing."""
        self._pauses = busy is not None and SUPPORTED
        self._busy = bytearray(1) if busy is None else busy
        self._busy[index] = 0  # of who died in this place
        self._index = index
        self._requests = 0
        self._process: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def of(self, pid: int) -> None:
        """That process holds the shadows from now on."""
        self._forget()
        if not self._pauses:
            return
        try:
            self._process = os.pidfd_open(pid)
        except OSError:  # it has died already, or the system forbids it
            return
        self._stop() if self._requests else self._go_on()

    def begin(self) -> None:
        """A request is on its way to a worker."""
        self._requests += 1
        if self._requests == 1 and self._process is not None:
            self._stop()

    def end(self) -> None:
        """It has come back."""
        self._requests -= 1
        if not self._requests and self._process is not None:
            self._go_on()

    def _stop(self) -> None:
        self._busy[self._index] = 1
        self._send(signal.SIGSTOP)
        self._cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LONGEST_SECONDS, self._send, signal.SIGCONT)

    def _go_on(self) -> None:
        """Unless another API process has requests."""
        self._cancel()
        self._busy[self._index] = 0
        if not any(self._busy[:]):
            self._send(signal.SIGCONT)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            try:
                signal.pidfd_send_signal(self._process, number)
            except ProcessLookupError:
                self._forget()

    def _forget(self) -> None:
        if self._process is not None:
            os.close(self._process)
            self._process = None
