"""Reading: a client that does not read what it is sent is not waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

LOOK_SECONDS = 60.0
"""Between two looks at what is still to be sent. A kernel takes more only by the megabyte, as room
for it comes, so that who reads 100 kB a second seems to stand still for half a minute.
"""


class Reading:
    """Of one connection, from when something had to wait until all of it is gone."""

    __slots__ = ("_left", "_loop", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Whoever reads nothing from now on is cut off. Nothing may be written until `stop`."""
        self.stop()
        self._left = self._transport.get_write_buffer_size()
        if self._left:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """It goes on, or the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        before = self._left
        self.watch()
        if self._left == before:
            self.stop()
            self._transport.abort()
