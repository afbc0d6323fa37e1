"""How deep a JSON document is nested, found without parsing it."""

from __future__ import annotations

import re

import numpy as np

from serving.errors import BadRequestError

MAX_DEPTH = 32
"""Deeper than any tensor: numpy itself stops at 64 dimensions, models at about 8."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)


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
    if b"\\" in body:
        body = _ESCAPE.sub(b"..", body)  # so that every quote that is left is a real one
    text = np.frombuffer(body, dtype=np.uint8)
    quotes = text == ord('"')
    inside = np.logical_xor.accumulate(quotes) & ~quotes if quotes.any() else quotes
    opening = ((text == ord("[")) | (text == ord("{"))) & ~inside
    closing = ((text == ord("]")) | (text == ord("}"))) & ~inside
    steps = opening.astype(np.int8) - closing.astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int64).max(initial=0))
