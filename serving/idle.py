"""Idle: a connection on which nobody asks for anything ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Idle:
    """Of one connection: one timer for all of its requests, since to make one and to cancel it for
    each takes as long as to read a request.
    """

    __slots__ = ("_close", "_loop", "_seconds", "_since", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, seconds: float, close: Callable[[], None]
    ) -> None:
        """`close` is called after so many seconds without a request."""
        self._loop = loop
        self._seconds = seconds
        self._close = close
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """What was asked is answered."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """There is a request, or its beginning."""
        self._since = None

    def stop(self) -> None:
        """The connection is gone."""
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left = self._since + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._close()
