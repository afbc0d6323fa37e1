"""HttpProtocol: a connection that is bounded in whatever is no body, and in its waits."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from bundle.quotation import shorten
from serving.codec.body import DISCARD_BYTES, DISCARD_SECONDS, WHOLE
from serving.codec.json import dump
from serving.departure import DEPARTURE, Departure
from serving.errors import (
    BadRequestError,
    HeadTimeoutError,
    HeadTooLargeError,
    NotSupportedError,
    ServingError,
)
from serving.idle import Idle
from serving.reading import Reading
from serving.request_id import new_request_id

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.responses import Response

ANSWER = "trainyard.answer"
"""In the ASGI scope: what takes the whole response, where that is possible."""
LAST_SECONDS = 0.5
"""For the first byte of a connection that was made just before the server stopped accepting."""
MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers together, and of what is neither head nor body."""


_IN_NO_HEADER = bytes({*range(32), 127} - {ord("\t")})


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """About as many bytes as were sent of them."""
    return len(url) + sum([len(name) + len(value) + len(": \r\n") for name, value in headers])


def _stays(connection: bytes) -> bytes:
    """What of that header is not about another protocol."""
    tokens = [token.strip().lower() for token in connection.split(b",")]
    return b", ".join([token for token in tokens if token in (b"close", b"keep-alive")])


def _unread(coding: bytes) -> NotSupportedError:
    return NotSupportedError(
        f"Transfer-Encoding={shorten(coding.decode('latin-1'))}: only chunked is read",
        field="Transfer-Encoding",
        remedy="send what is compressed with a Content-Encoding",
    )


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
        self._data = b""
        """What came last."""
        self._plain_head = b""
        """Of a request that asked for another protocol, until it is read again without that."""
        self._pending_bytes = 0
        """Since a request began, its headers were complete, or some of its body came."""
        self._in_head = False
        self._used = False
        self._departure = Departure()
        self._refusal: ServingError | None = None
        """What the connection ends with, once what was asked before is answered."""
        self._running: RequestResponseCycle | None = None
        """Of several requests in a row the one that is being answered."""
        self._deaf = False
        """Whether what comes is thrown away."""
        self._discarded = 0
        self.url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._on_connections(len(self.connections))
        self._reading = Reading(transport, self.loop)
        self._idle = Idle(self.loop, seconds=self.timeout_keep_alive, close=self._close)
        # A pool opens connections ahead of need: they are as idle as between two requests.
        self._idle.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._idle.stop()
        self._reading.stop()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells only the newest of several
            self._running.message_event.set()
        super().connection_lost(exc)
        self._on_connections(len(self.connections))
        self._departure.happen()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(len(data))
            return
        self._pending_bytes += len(data)
        self._data = data
        super().data_received(data)
        if self.transport.is_closing() or self._deaf:
            return
        if self._pending_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLargeError(MAX_HEAD_BYTES))
        elif self._in_head and self._timer is None and not self.flow.read_paused:
            self._wait_for_head()  # most heads come in one piece, and need no timer

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
        if _size(self.url, self.headers) > MAX_HEAD_BYTES:  # it came in one piece
            self._wrong_head = HeadTooLargeError(MAX_HEAD_BYTES)
            raise _HeadEnd
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._wrong_head = _unread(value)
                raise _HeadEnd
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._plain_head = self._without_upgrade()
            return
        self._in_head = False
        self._pending_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        self.scope[ANSWER] = partial(self.answer, self.cycle)  # type: ignore[literal-required]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._plain_head:
            return
        super().on_message_complete()
        body = self.cycle.body
        if len(body) <= HIGH_WATER_LIMIT:  # beyond it nothing is read until the body is asked for
            self.scope[WHOLE] = bytes(body)  # type: ignore[literal-required]

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn where a client would rather speak another protocol, which it need not
        be granted: the parser has stopped after the head, and would lose the body.
        """
        stopped = sys.exc_info()[1]
        head, self._plain_head = self._plain_head, b""
        if head and isinstance(stopped, httptools.HttpParserUpgrade):
            self.parser = httptools.HttpRequestParser(self)
            super().data_received(head + self._data[stopped.args[0] :])

    def _without_upgrade(self) -> bytes:
        """The head of a request that does not ask for another protocol, and else is this one."""
        lines = [b"%b %b HTTP/%b" % (
            self.parser.get_method(), self.url, self.parser.get_http_version().encode("ascii")
        )]  # fmt: skip
        lines += [
            b"%b: %b" % (name, _stays(value) if name == b"connection" else value)
            for name, value in self.headers
            if name not in (b"upgrade", b"http2-settings")
        ]
        return b"\r\n".join([*lines, b"", b""])

    def on_response_complete(self) -> None:
        """As uvicorn's, but that the connection may end with a refusal, and for its timers."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._reading.watch()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send_refusal(self._refusal)
        elif not self._in_head:
            self._idle.begin()
        elif self._timer is None:  # nothing was read, and so nothing was late
            self._wait_for_head()

    def shutdown(self) -> None:
        """Whoever has just connected, or is sending a request, is answered first."""
        if self._in_head:
            return
        if self._used:
            super().shutdown()
        else:
            self._stop_timer()
            self._timer = self.loop.call_later(LAST_SECONDS, self._close)

    def answer(self, cycle: RequestResponseCycle, response: Response) -> bool:
        """Write all of the response at once, in place of ASGI's two messages. False, and nothing is
        written, where the client must be waited for.
        """
        if cycle.more_body:  # what is left of it is not waited for
            cycle.keep_alive = False
        if self.flow.write_paused:
            return False
        if cycle.disconnected or self.transport.is_closing():
            return True
        headers = [*cycle.default_headers, *response.raw_headers]
        values = b"".join([value for _, value in headers])
        if len(values.translate(None, _IN_NO_HEADER)) != len(values):
            raise RuntimeError(f"a header cannot be sent: {headers}")
        if (b"connection", b"close") in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        body = b"" if cycle.scope["method"] == "HEAD" else response.body
        self.transport.write(b"".join((STATUS_LINE[response.status_code], head, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if cycle.more_body:
            self._linger()
        elif not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are replaced
        """Called by uvicorn when the parser gives up."""
        self._refuse(
            self._wrong_head
            or BadRequestError(
                "this is not HTTP/1.1",
                code="malformed_http",
                remedy="send HTTP/1.1, and no TLS but to a proxy in front",
            )
        )

    def _refuse(self, error: ServingError) -> None:
        """End the connection with that error, in the place of the request that it is about."""
        self._on_refused(error.status, error.code)
        if self.transport.is_closing():
            return
        self._stop_timer()
        self._deaf = True
        waits = bool(self.cycle) and not self.cycle.response_complete
        if waits and self.cycle.more_body:  # it is about this request's own body
            waits = bool(self.pipeline)
            if waits:
                self.pipeline.popleft()
            else:
                self.cycle.disconnected = True
                self.cycle.waiting_for_100_continue = False  # nothing is written before its end
                self.cycle.message_event.set()
        if waits:
            self._refusal = error
            self.flow.pause_reading()
        else:
            self._send_refusal(error)

    def _send_refusal(self, error: ServingError) -> None:
        name = new_request_id()
        of_v2 = self.url == b"/v2" or self.url.startswith(b"/v2/")
        body = dump({"error": error.told()} if of_v2 else error.body(name))
        head = (
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {name}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[error.status] + head.encode("ascii") + body)
        self._linger()

    def _linger(self) -> None:
        """Read on for a while, without keeping anything: a connection that is closed on what was
        sent is reset, and its sender may never see the answer.
        """
        self._deaf = True
        if self.transport.is_closing():
            return
        self._timer = self.loop.call_later(DISCARD_SECONDS, self._close)
        with contextlib.suppress(OSError):  # it is gone, and that is noticed soon
            self.transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > DISCARD_BYTES:
            self._close()

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
