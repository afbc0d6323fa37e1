"""SIGTERM and SIGINT: heard by the supervisor alone, and by it only where it waits."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def signals_as_bytes() -> Iterator[socket.socket]:
    """A socket from which each signal that arrives can be read as one byte, its number."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = [(number, signal.signal(number, _noted)) for number in STOPPING]
    previous = signal.set_wakeup_fd(sender.fileno())
    try:
        yield receiver
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before:
            signal.signal(number, handler)
        receiver.close()
        sender.close()


def _noted(_number: int, _frame: object) -> None:
    """The byte in the socket says it all."""


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """A child that starts in here never gets the signals; those that come now come afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def ignore_signals() -> None:
    """Ctrl-C and a service manager's SIGTERM reach all processes; only the supervisor acts."""
    signal.set_wakeup_fd(-1)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
