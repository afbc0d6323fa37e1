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
MOST_MEMBERS = 4096
"""Of one gzip body. A block compressor makes one for each 64 KiB; each costs, also an empty one."""
SLICE_BYTES = 16 * 1024
"""That are inflated at once."""


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
    at = members = 0
    try:
        while at < len(body):
            if members and encoding != "gzip":  # which may be several, one after the other
                raise _malformed(f"{len(body) - at} bytes follow the {encoding} body")
            members += 1
            if members > MOST_MEMBERS:
                raise _malformed(
                    f"the gzip body has more than {MOST_MEMBERS} members",
                    remedy="compress the body as a whole",
                )
            at = _inflate_member(body, at, encoding, content, maximum=maximum)
    except zlib.error as error:
        raise _malformed(f"the body is not {encoding}: {error}") from error
    return bytes(content)


def _inflate_member(
    body: bytes, at: int, encoding: str, content: bytearray, *, maximum: int
) -> int:
    """Add what begins at `at` to the content. Returns where it ends.

    By the slice: what follows a member's end is copied by zlib, for each of them.
    """
    inflater = zlib.decompressobj(_GZIP if encoding == "gzip" else _window(body))
    while not inflater.eof:
        piece = memoryview(body)[at : at + SLICE_BYTES]
        if not piece:
            raise _malformed(f"the {encoding} body is cut short")
        content += inflater.decompress(piece, maximum + 1 - len(content))
        if len(content) > maximum:
            raise TooLargeError(
                f"the body is larger than {maximum} bytes once inflated",
                code="body_too_large",
                remedy="send less at once, or raise --max-body-bytes",
            )
        at += len(piece) - len(inflater.unused_data)
    return at


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


def _malformed(message: str, *, remedy: str | None = None) -> BadRequestError:
    return BadRequestError(message, code="malformed_body", remedy=remedy)
