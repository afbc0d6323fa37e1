"""How deep a JSON document is nested, found without parsing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serving.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Levels = NDArray[np.int32]

MAX_DEPTH = 32
"""Deeper than any tensor: numpy itself stops at 64 dimensions, models at about 8."""

BLOCK_BYTES = 2**18
"""That are looked at together: what is found of each byte stays in the processor's cache."""


def check_depth(body: bytes, *, maximum: int = MAX_DEPTH) -> None:
    """Raise BadRequestError if lists and objects are nested deeper than `maximum`."""
    if body.count(b"[") + body.count(b"{") <= maximum:
        return
    if depth(body) > maximum:
        raise BadRequestError(
            f"the body is nested more than {maximum} deep",
            code="malformed_json",
            remedy="send a flatter document",
        )


def depth(body: bytes) -> int:
    """The deepest nesting; brackets inside strings do not count. Garbage in, some number out."""
    return max((int(levels.max()) for _, levels in _levels(body)), default=0)


def outermost(body: bytes) -> bytes:
    """What lies in no list or object but the outermost, and that one's own brackets, of a document
    that is JSON. Of what lies deeper only closing brackets are left, and no quote is escaped.
    """
    return b"".join([text[levels <= 1].tobytes() for text, levels in _levels(body)])


def _levels(body: bytes) -> Iterator[tuple[Bytes, Levels]]:
    """The document's bytes, and how deep each is nested: one after the other, by the block."""
    if b"\\" in body:  # every quote that is left is a real one
        body = body.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    level, inside = 0, False
    for at in range(0, len(body), BLOCK_BYTES):
        text = np.frombuffer(body, np.uint8, min(BLOCK_BYTES, len(body) - at), at)
        within = np.logical_xor.accumulate(text == ord('"')) ^ inside
        opening = ((text == ord("[")) | (text == ord("{"))) & ~within
        closing = ((text == ord("]")) | (text == ord("}"))) & ~within
        levels = np.cumsum(opening.astype(np.int8) - closing.astype(np.int8), dtype=np.int32)
        levels += level
        yield text, levels
        level, inside = int(levels[-1]), bool(within[-1])
