"""Leftover: what a client goes on sending when it is not read any more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

DISCARD_BYTES = 32 * 2**20
DISCARD_SECONDS = 4.0
"""How much is still taken, and for how long once all is written, so that its sender gets to see the
answer."""


class Leftover:
    """Of one connection: it is taken and thrown away for a while, within bounds. A connection that
    is closed on what was sent is reset, and its sender may never see the answer.
    """

    __slots__ = ("_bytes", "_close", "_loop", "_timer", "_transport", "begun")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        close: Callable[[], None],
    ) -> None:
        """`close` ends the connection when it is enough."""
        self._transport = transport
        self._loop = loop
        self._close = close
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.begun = False
        """Whether what comes is thrown away."""

    def begin(self) -> None:
        """Nothing is read from now on; there may be an answer still to be written."""
        self.begun = True

    def take(self, size: int) -> None:
        """So many bytes came."""
        self._bytes += size
        if self._bytes > DISCARD_BYTES:
            self._close()

    def linger(self) -> None:
        """All is written."""
        self.begun = True
        if self._transport.is_closing():
            return
        self._timer = self._loop.call_later(DISCARD_SECONDS, self._close)
        with contextlib.suppress(OSError):  # it is gone, and that is noticed soon
            self._transport.write_eof()

    def stop(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
