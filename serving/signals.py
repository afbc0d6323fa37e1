"""SIGTERM, SIGINT and SIGHUP: heard by the supervisor alone, and by it only where it waits."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_TERMINAL = (signal.SIGINT, signal.SIGHUP)
"""Ctrl-C, and that the terminal is gone: they reach all processes that it started."""
STOPPING = (signal.SIGTERM, *OF_TERMINAL)


def heeded() -> tuple[signal.Signals, ...]:
    """Those that stop this process: not SIGHUP where it was started to outlive its terminal, as
    nohup does.
    """
    kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in STOPPING if not (kept and number == signal.SIGHUP))


@contextlib.contextmanager
def signals_as_bytes() -> Iterator[socket.socket]:
    """A socket from which each signal that arrives can be read as one byte, its number."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = [(number, signal.signal(number, _noted)) for number in heeded()]
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
    """What a terminal and a service manager send reaches all processes; the supervisor acts."""
    signal.set_wakeup_fd(-1)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
