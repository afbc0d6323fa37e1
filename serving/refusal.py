"""Refusals: what is answered where there is no request that the application could answer."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from bundle.quotation import shorten
from serving.codec.json import dump
from serving.errors import BadRequestError, NotSupportedError, ServingError
from serving.request_id import new_request_id


def not_http() -> BadRequestError:
    """The error of what the parser does not take."""
    return BadRequestError(
        "this is not HTTP/1.1",
        code="malformed_http",
        remedy="send HTTP/1.1, and no TLS but to a proxy in front",
    )


def other_coding(coding: bytes) -> NotSupportedError:
    """The error of a body in that transfer coding."""
    return NotSupportedError(
        f"Transfer-Encoding={shorten(coding.decode('latin-1'))}: only chunked is read",
        field="Transfer-Encoding",
        remedy="send what is compressed with a Content-Encoding",
    )


def refusal(error: ServingError, url: bytes) -> bytes:
    """The answer to who asked for that, as far as it is known; the connection ends with it."""
    name = new_request_id()
    of_v2 = url == b"/v2" or url.startswith(b"/v2/")
    body = dump({"error": error.told()} if of_v2 else error.body(name))
    head = (
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"x-request-id: {name}\r\n"
        "connection: close\r\n\r\n"
    )
    return STATUS_LINE[error.status] + head.encode("ascii") + body
