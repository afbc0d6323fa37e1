"""Acceptor: takes the connections of a listening socket that several processes share."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from serving.listener import let_nobody_in

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GONE = frozenset(
    {
        errno.ECONNABORTED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
        errno.ENETDOWN, errno.ENETUNREACH, errno.ENONET, errno.ENOPROTOOPT, errno.EOPNOTSUPP,
        errno.EPERM, errno.EPROTO, errno.ETIMEDOUT,
    }
)  # fmt: skip
"""What has become of the one connection that was to be taken: accept(2) wants the next one tried. A
firewall's word for it is EPERM.
"""
YIELD_SECONDS = 0.001
"""For which a connection is left to processes that have fewer: whoever is free takes it, and it is
often the same one.
"""
REST_SECONDS = 1.0
"""Until it looks again where there was no room for another connection."""


class Connection(asyncio.Protocol):
    """What speaks on a connection, as uvicorn's do."""

    def shutdown(self) -> None:
        """End when what has been asked is answered."""


class Acceptor:
    """As an event loop's own server: one connection in each turn, so that the others get some.

    That one would leave those that wait in the kernel when it closes, to be reset with whatever
    they have sent; this one takes them.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], Connection],
        *,
        backlog: int,
        crowded: Callable[[], bool] = lambda: False,
        leave: Callable[[], bool] = lambda: False,
    ) -> None:
        """`crowded`: whether another process has fewer connections. `leave` tells the others that
        this one takes no more, and whether it was the last that did.
        """
        self._leave = leave
        self._crowded = crowded
        self._listener = listener
        self._protocol = protocol
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        self._rest: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(self._backlog)
        self._loop.add_reader(self._listener, self._readable)

    def close(self) -> None:
        """What has connected by now is taken, and told to end; the socket is its owner's."""
        self._closed = True
        if self._leave():
            let_nobody_in(self._listener)  # until it is closed, in a moment
        self._loop.remove_reader(self._listener)
        for _ in range(self._backlog + 1):  # more do not wait, unless new ones come all the time
            if not self._accept():
                break
        if self._rest is not None:
            self._rest.cancel()

    async def wait_closed(self) -> None:
        """Until what was taken is connected, and told to end."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _readable(self) -> None:
        if self._crowded():
            self._loop.remove_reader(self._listener)
            self._rest = self._loop.call_later(YIELD_SECONDS, self._after_others)
        else:
            self._accept()

    def _after_others(self) -> None:
        self._rest = None
        try:
            self._accept()
        finally:
            self._listen_again()

    def _listen_again(self) -> None:
        """Whatever was wrong with a connection: without it there is no other."""
        if self._rest is None and not self._closed:
            self._loop.add_reader(self._listener, self._readable)

    def _accept(self) -> bool:
        """Whether there was a connection, and room for it: there may be another one."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another process was quicker
        except OSError as error:
            if error.errno in GONE:
                return True
            if error.errno not in NO_ROOM:
                raise
            if not self._closed:
                self._loop.remove_reader(self._listener)
                self._rest = self._loop.call_later(REST_SECONDS, self.start)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    async def _open(self, taken: socket.socket) -> None:
        try:
            _, connection = await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:
            taken.close()  # the client is gone
        except Exception as error:  # noqa: BLE001 - told of, as of every callback that fails
            taken.close()
            context = {"message": "a connection cannot be served", "exception": error}
            self._loop.call_exception_handler(context)
        else:
            if self._closed:
                connection.shutdown()
