"""HttpProtocol: a connection whose request heads are bounded in time and in size."""

from __future__ import annotations

import os
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from serving.codec.body import WHOLE
from serving.codec.json import dump
from serving.departure import DEPARTURE, Departure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.responses import Response

ANSWER = "trainyard.answer"
"""In the ASGI scope: what takes the whole response, where that is possible."""
LAST_SECONDS = 0.2
"""For the first byte of a connection that was made just before the server stopped accepting."""
MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers together."""


_IN_NO_HEADER = bytes({*range(32), 127} - {ord("\t")})


class _HeadTooLargeError(Exception):
    """Raised through the parser, which then stops."""


class HttpProtocol(HttpToolsProtocol):
    """What is malformed, too slow or too large before there is a request is answered in JSON."""

    def __init__(
        self,
        *args: Any,
        head_seconds: float,
        on_refused: Callable[[int, str], None],
        **kwargs: Any,
    ) -> None:
        """`head_seconds`: from a request's first byte to the end of its headers. `on_refused` is
        told the status and the code of what never became a request.
        """
        super().__init__(*args, **kwargs)
        self._head_seconds = head_seconds
        self._on_refused = on_refused
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._used = False
        self._departure = Departure()
        self._refusal = (HTTPStatus.BAD_REQUEST, "malformed_http", "this is not HTTP/1.1")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A pool opens connections ahead of need: they are as idle as between two requests.
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._nothing_came)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self._departure.happen()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and self._timer is None and not self.transport.is_closing():
            # Most heads come in one piece, and need no timer.
            self._timer = self.loop.call_later(self._head_seconds, self._head_is_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[DEPARTURE] = self._departure  # type: ignore[literal-required]
        self._head_bytes = 0
        self._in_head = self._used = True
        self._stop_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()
        self.scope[ANSWER] = partial(self.answer, self.cycle)  # type: ignore[literal-required]

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.scope[WHOLE] = True  # type: ignore[literal-required]

    def shutdown(self) -> None:
        """Whoever has just connected, or is sending a request, is answered first."""
        if self._in_head:
            return
        if self._used:
            super().shutdown()
        else:
            self._stop_timer()
            self._timer = self.loop.call_later(LAST_SECONDS, self._nothing_came)

    def answer(self, cycle: RequestResponseCycle, response: Response) -> bool:
        """Write all of the response at once, in place of ASGI's two messages. False, and nothing is
        written, where the client must be waited for.
        """
        if self.flow.write_paused:
            return False
        if cycle.disconnected:
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
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are replaced
        """Called by uvicorn when the parser gives up."""
        status, code, message = self._refusal
        self._on_refused(status.value, code)
        if self.transport.is_closing():
            return
        body = dump({"error": {"code": code, "message": message}, "id": os.urandom(16).hex()})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = (
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                f"the request line and its headers are larger than {MAX_HEAD_BYTES} bytes",
            )
            raise _HeadTooLargeError

    def _head_is_late(self) -> None:
        self._refusal = (
            HTTPStatus.REQUEST_TIMEOUT,
            "head_timeout",
            f"the headers did not arrive within {self._head_seconds * 1000:g} ms",
        )
        self.send_400_response("")

    def _nothing_came(self) -> None:
        self._timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
