"""HttpProtocol: a connection that is bounded in whatever is no body, and in its waits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.departure import Departure
from serving.errors import HeadTimeoutError, HeadTooLargeError, ServingError
from serving.flow import Flow
from serving.idle import Idle
from serving.leftover import Leftover
from serving.reading import Reading
from serving.refusal import not_http, other_coding, refusal
from serving.scope import ANSWER, DEPARTURE, REFUSED, WHOLE
from serving.target import read_target
from serving.upgrade import without_upgrade
from serving.whole_response import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_SECONDS = 0.5
"""For the first byte of a connection that was made just before the server stopped accepting."""
MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers together, and of what is neither head nor body."""
MOST_WAITING = 16
"""Requests of one connection that wait for the answers to those before them. What else has come is
read when they are answered."""
PIECE_BYTES = 4096
"""That are read together, unless they are known to be one body's: most heads are shorter."""
SLICE_BYTES = 1024
"""That are read together of a piece which may hold more requests than may wait."""
_HEAD_END = b"\n\r\n"


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """About as many bytes as were sent of them."""
    return len(url) + sum([len(name) + len(value) + len(": \r\n") for name, value in headers])


def _slice(data: bytes, at: int) -> int:
    """How many of the bytes from there on are read at once, where there may be requests in them."""
    size = min(len(data) - at, PIECE_BYTES)
    if size > SLICE_BYTES and data.count(_HEAD_END, at, at + size) > MOST_WAITING:
        return SLICE_BYTES
    return size


class _HeadEnd(Exception):  # noqa: N818 - no error of ours: the parser makes its own of it
    """Raised through the parser, which then stops."""


class HttpProtocol(HttpToolsProtocol):
    """What is malformed, too slow or too large before there is a request is answered in JSON."""

    def __init__(
        self,
        *args: Any,
        head_seconds: float,
        on_refused: Callable[[int, str], None],
        on_connections: Callable[[int], None] = lambda _: None,
        **kwargs: Any,
    ) -> None:
        """`head_seconds`: from a request's first byte to the end of its headers. `on_refused` is
        told the status and the code of what never became a request, `on_connections` how many
        connections there are.
        """
        super().__init__(*args, **kwargs)
        self._head_seconds = head_seconds
        self._on_refused = on_refused
        self._on_connections = on_connections
        self._timer: asyncio.TimerHandle | None = None
        self._wrong_head: ServingError | None = None
        """What the parser was stopped for, if by us."""
        self._unread = b""
        """What came with more requests than may wait."""
        self._plain_head = b""
        """Of a request that asked for another protocol, until it is read again without that."""
        self._pending_bytes = 0
        """Since a request began, its headers were complete, or some of its body came."""
        self._head_most = 0
        """Bytes of the pieces in which the head came."""
        self._body_left = 0
        """Bytes of a body that are still to come, where its length was told: there is no other
        request in them.
        """
        self._in_head = False
        self._used = False
        self._departure = Departure()
        self._refusal: ServingError | None = None
        """What the connection ends with, once what was asked before is answered."""
        self._running: RequestResponseCycle | None = None
        """Of several requests in a row the one that is being answered."""
        self.url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._on_connections(len(self.connections))
        self._reading = Reading(transport, self.loop)
        self._leftover = Leftover(transport, self.loop, close=self._close)
        self._idle = Idle(self.loop, seconds=self.timeout_keep_alive, close=self._close)
        # A pool opens connections ahead of need: they are as idle as between two requests.
        self._idle.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._idle.stop()
        self._reading.stop()
        self._leftover.stop()
        self._unread = b""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells only the newest of several
            self._running.message_event.set()
        super().connection_lost(exc)
        self._on_connections(len(self.connections))
        self._departure.happen()

    def data_received(self, data: bytes) -> None:
        if self._leftover.begun:
            self._leftover.take(len(data))
        elif self._unread:
            self._unread += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """All of it, or as much as there are requests for that may wait."""
        at, view = 0, memoryview(data)
        while at < len(data) and len(self.pipeline) < MOST_WAITING:
            size = self._body_left or _slice(data, at)
            self._parse(view[at : at + size])
            at += size
            if self.transport.is_closing() or self._leftover.begun:
                return
        self._unread = data[at:]

    def _parse(self, rest: memoryview) -> None:
        """As uvicorn does, but that nobody is granted another protocol."""
        size = len(rest)
        self._pending_bytes += size
        self._head_most = self._head_most + size if self._in_head else size
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as stopped:  # after the head
                    rest = rest[stopped.args[0] :]
                    if not self._plain_head:  # of CONNECT: what follows is no HTTP
                        self._leftover.begin()
                        return
                    head, self._plain_head = self._plain_head, b""
                    self.parser = self._new_parser()
                    self.parser.feed_data(head)
        except httptools.HttpParserError:
            self._refuse(self._wrong_head or not_http())
        if self.transport.is_closing() or self._leftover.begun:
            return
        if self._pending_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLargeError(MAX_HEAD_BYTES))
        elif self._in_head and self._timer is None and not self.flow.read_paused:
            self._wait_for_head()  # most heads come in one piece, and need no timer

    def _new_parser(self) -> httptools.HttpRequestParser:
        """One like uvicorn's, which takes no offence at what comes after the last request."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._reading.stop()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[DEPARTURE] = self._departure  # type: ignore[literal-required]
        self._pending_bytes = 0
        self._in_head = self._used = True
        self._idle.end()
        self._stop_timer()

    def on_headers_complete(self) -> None:
        if self._head_most > MAX_HEAD_BYTES < _size(self.url, self.headers):
            self._wrong_head = HeadTooLargeError(MAX_HEAD_BYTES)
            raise _HeadEnd
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._wrong_head = other_coding(value)
                raise _HeadEnd
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            version = self.parser.get_http_version()
            self._plain_head = without_upgrade(method, self.url, version, self.headers)
            return
        self._in_head = False
        self._pending_bytes = 0
        self._stop_timer()
        self._begin(method)

    def _begin(self, method: bytes) -> None:
        """As uvicorn's `on_headers_complete`, in fewer steps, and without what is not used here: a
        root path and a limit of connections.
        """
        scope, version = self.scope, self.parser.get_http_version()
        scope["method"] = method.decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        scope["path"], scope["raw_path"], scope["query_string"] = read_target(self.url)
        before: RequestResponseCycle | None = self.cycle
        keeps = self.parser.should_keep_alive() and method != b"CONNECT"
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keeps and version != "1.0",
            on_response=self.on_response_complete,
        )
        scope[ANSWER] = partial(write_whole, self.cycle, self._leftover)  # type: ignore[literal-required]
        if before is not None and not before.response_complete:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        if self._body_left:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._plain_head:
            return
        self._body_left = self._pending_bytes = 0
        super().on_message_complete()
        body = self.cycle.body
        if len(body) <= HIGH_WATER_LIMIT:  # beyond it nothing is read until the body is asked for
            self.scope[WHOLE] = bytes(body)  # type: ignore[literal-required]

    def _should_upgrade(self) -> bool:
        return False

    def on_response_complete(self) -> None:
        """As uvicorn's, but that the connection may end with a refusal, and for its timers."""
        self.server_state.total_requests += 1
        if self._running is not None:  # it may be idle for long
            self._running.body = bytearray()
            self._running.scope.pop(WHOLE, None)  # type: ignore[misc]
        if self.transport.is_closing():
            self._reading.watch()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline:
                self._read_on()
            return
        self.flow.resume_reading()
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif not self._in_head:
            self._idle.begin()
        elif self._timer is None:  # nothing was read, and so nothing was late
            self._wait_for_head()

    def _read_on(self) -> None:
        """Nobody waits for an answer to somebody else: more requests may come."""
        unread, self._unread = self._unread, b""
        if unread and not self._leftover.begun:
            self._read(unread)
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Whoever has just connected, or is sending a request, is answered first."""
        if self._in_head:
            return
        if self._used:
            super().shutdown()
        else:
            self._stop_timer()
            self._timer = self.loop.call_later(LAST_SECONDS, self._close)

    def _refuse(self, error: ServingError) -> None:
        """End the connection with that error, in the place of the request that it is about."""
        self._stop_timer()
        if self.transport.is_closing():
            self._on_refused(error.status, error.code)
            return
        self._leftover.begin()
        waits = bool(self.cycle) and not self.cycle.response_complete
        if waits and self.cycle.more_body:  # it is about this request's own body
            if not self.pipeline:  # which is being read: the application answers it
                self.cycle.scope[REFUSED] = error  # type: ignore[literal-required]
                self.cycle.waiting_for_100_continue = False
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                return
            self.pipeline.popleft()
        self._on_refused(error.status, error.code)
        if waits:
            self._refusal = error
            self.flow.pause_reading()
        else:
            self._send_refusal(error)

    def _send_refusal(self, error: ServingError) -> None:
        self.transport.write(refusal(error, self.url))
        self._leftover.linger()

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(self._head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._timer = None
        self._refuse(HeadTimeoutError(self._head_seconds))

    def _close(self) -> None:
        """What was written is still sent, to whoever reads it."""
        self._stop_timer()
        self.transport.close()
        self._reading.watch()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
