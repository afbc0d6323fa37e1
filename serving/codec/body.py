"""The body of a request: bounded in bytes and time, and of a media type that is read."""

from __future__ import annotations

import asyncio
import codecs
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from serving.errors import (
    BadRequestError,
    BodyTimeoutError,
    ServingError,
    TooLargeError,
    UnsupportedMediaError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Receive

TEXT_ENCODINGS = ("utf-8", "ascii", "iso8859-1")


@dataclass(frozen=True, slots=True)
class MediaType:
    """The Content-Type header, lower-case but for its parameters' values."""

    name: str
    parameters: dict[str, str]

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, header: str | None) -> MediaType:
        name, parameters = parse_options_header(header)
        return cls(
            name.decode("latin-1"),
            {key.decode("latin-1").lower(): value.decode("latin-1")
             for key, value in parameters.items()},
        )  # fmt: skip

    def text_encoding(self) -> str:
        """The codec of its charset. Raises UnsupportedMediaError."""
        return _text_encoding(self.parameters.get("charset", "utf-8"))


@lru_cache(maxsize=64)
def _text_encoding(charset: str) -> str:
    try:
        name = codecs.lookup(charset.strip()).name
    except (LookupError, ValueError):
        name = ""
    if name not in TEXT_ENCODINGS:
        raise UnsupportedMediaError(
            f"the charset {charset[:64]!r} is not read", remedy="send UTF-8"
        )
    return name


def decode_text(body: bytes, encoding: str) -> str:
    """Raises BadRequestError where the bytes are not of that encoding."""
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadRequestError(
            f"the body is not {encoding}: {error.reason} at byte {error.start}",
            code="invalid_input",
            field="text",
        ) from error


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    maximum: int,
    seconds: float,
    remedy: str = "send less at once",
    take: Callable[[int], None] | None = None,
) -> bytes:
    """All of the body. Raises TooLargeError, which has the remedy, BodyTimeoutError or
    ClientDisconnect, and what `take` raises, which is told of the bytes of each piece, and with a
    minus that they are not kept.

    A Content-Length over the maximum is refused before the body is asked for, any other body when
    it gets over the maximum.
    """
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > maximum:
        raise too_large(maximum, remedy)
    try:
        async with asyncio.timeout(seconds):
            return await _collect(receive, maximum, remedy, take)
    except TimeoutError:
        raise BodyTimeoutError(
            f"the body did not arrive within {seconds * 1000:g} ms",
            code="body_timeout",
            remedy="send it faster, or in smaller requests",
            headers={"Connection": "close"},
        ) from None


async def _collect(
    receive: Receive, maximum: int, remedy: str, take: Callable[[int], None] | None
) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > maximum:
            raise too_large(maximum, remedy)
        if take is not None:
            take(len(body))
        return body
    chunks, taken = bytearray(), 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        chunks += chunk
        try:
            if len(chunks) > maximum:
                raise too_large(maximum, remedy)
            if take is not None:
                take(len(chunk))
                taken += len(chunk)
        except ServingError as error:
            error.headers["Connection"] = "close"
            chunks.clear()
            if take is not None:
                take(-taken)
            raise
        if not more:
            return bytes(chunks)
        message = await receive()


def too_large(maximum: int, remedy: str) -> TooLargeError:
    """The error of a body that is larger."""
    return TooLargeError(
        f"the body is larger than {maximum} bytes",
        code="body_too_large",
        remedy=remedy,
        headers={"Connection": "close"},
    )
