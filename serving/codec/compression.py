"""Compressed bodies: inflated up to a limit, so that a small body cannot become a large one."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from serving.errors import BadRequestError, TooLargeError, UnsupportedMediaError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENCODINGS = ("gzip", "deflate")
_GZIP = 16 + zlib.MAX_WBITS
LEVEL = 1
"""Tensors compress poorly whatever the level, and slowly at a high one."""


def content_encoding(headers: Mapping[str, str]) -> str:
    """How the body is compressed; empty if it is not. Raises UnsupportedMediaError."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return ""
    if encoding not in ENCODINGS:
        raise UnsupportedMediaError(
            f"the content encoding {encoding[:64]!r} is not read",
            remedy=f"send the body uncompressed, or as {' or '.join(ENCODINGS)}",
        )
    return encoding


def inflate(body: bytes, encoding: str, *, maximum: int) -> bytes:
    """The body of at most `maximum` bytes. Raises BadRequestError or TooLargeError."""
    content = bytearray()
    rest = body
    try:
        while rest:
            inflater = zlib.decompressobj(_GZIP if encoding == "gzip" else _window(rest))
            content += inflater.decompress(rest, maximum + 1 - len(content))
            if len(content) > maximum:
                raise TooLargeError(
                    f"the body is larger than {maximum} bytes once inflated",
                    code="body_too_large",
                    remedy="send less at once, or raise --max-body-bytes",
                )
            if not inflater.eof:
                raise BadRequestError(f"the {encoding} body is cut short", code="malformed_body")
            rest = inflater.unused_data  # gzip allows several members, one after the other
            if rest and encoding != "gzip":
                raise BadRequestError(
                    f"{len(rest)} bytes follow the {encoding} body", code="malformed_body"
                )
    except zlib.error as error:
        raise BadRequestError(f"the body is not {encoding}: {error}", code="malformed_body") from (
            error
        )
    return bytes(content)


def answer_encoding(headers: Mapping[str, str]) -> str:
    """The encoding that an answer is wanted in; empty for none.

    Only a client that asks for exactly one gets it: most HTTP libraries offer all they know, and
    compressing tensors for them costs more than sending them.
    """
    wanted = headers.get("accept-encoding", "").strip().lower()
    return wanted if wanted in ENCODINGS else ""


def deflate(content: bytes, encoding: str) -> bytes:
    """The content in that encoding."""
    deflater = zlib.compressobj(LEVEL, wbits=_GZIP if encoding == "gzip" else zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def _window(body: bytes) -> int:
    """HTTP's deflate is a zlib stream, but some send one without zlib's header."""
    header = int.from_bytes(body[:2], "big")
    return zlib.MAX_WBITS if body[0] & 0x0F == 8 and header % 31 == 0 else -zlib.MAX_WBITS
