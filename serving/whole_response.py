"""A whole response, written at once in place of ASGI's two messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serving.reply import Reply
from serving.scope import REFUSED

if TYPE_CHECKING:
    from starlette.responses import Response
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from serving.leftover import Leftover

_IN_NO_HEADER = bytes({*range(32), 127} - {ord("\t")})


def write_whole(cycle: RequestResponseCycle, leftover: Leftover, response: Response) -> bool:
    """False, and nothing is written, where the client must be waited for."""
    if cycle.more_body:  # what is left of it is not waited for
        cycle.keep_alive = False
    if REFUSED in cycle.scope:  # it only seemed to the application that nobody is there
        cycle.disconnected = False
    if cycle.flow.write_paused:
        return False
    if cycle.transport.is_closing():
        cycle.disconnected = True  # as uvicorn is told soon: it would miss an answer
    if cycle.disconnected:
        return True
    headers = [*cycle.default_headers, *response.raw_headers]
    if (b"connection", b"close") in headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers.append((b"connection", b"close"))
    head = b"".join([b"%b: %b\r\n" % header for header in headers])
    if len(head.translate(None, _IN_NO_HEADER)) != len(head) - 2 * len(headers):
        raise RuntimeError(f"a header cannot be sent: {headers}")
    written = response.lines if isinstance(response, Reply) else b""
    body = b"" if cycle.scope["method"] == "HEAD" else response.body
    cycle.transport.write(
        b"".join((STATUS_LINE[response.status_code], written, head, b"\r\n", body))
    )
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if cycle.more_body:
        leftover.linger()
    elif not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
