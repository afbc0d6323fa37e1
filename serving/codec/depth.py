"""How deep a JSON document is nested, found without parsing it."""

from __future__ import annotations

import numpy as np

from serving.codec.quotes import unquoted
from serving.errors import BadRequestError

MAX_DEPTH = 32
"""Deeper than any tensor: numpy itself stops at 64 dimensions, models at about 8."""


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
    deepest = level = 0
    for text, outside in unquoted(body):
        opening = ((text == ord("[")) | (text == ord("{"))) & outside
        closing = ((text == ord("]")) | (text == ord("}"))) & outside
        levels = np.cumsum(opening.astype(np.int8) - closing.astype(np.int8), dtype=np.int32)
        deepest = max(deepest, level + int(levels.max()))
        level += int(levels[-1])
    return deepest
