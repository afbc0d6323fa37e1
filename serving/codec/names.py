"""Names of a JSON document's fields: in one object each is given once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from bundle.quotation import shorten
from serving.codec.quotes import unquoted
from serving.errors import BadRequestError


def check_names(body: bytes, document: dict[str, Any]) -> None:
    """Raise BadRequestError for a field that is given twice in what became the `document`, which
    has the last one of them.
    """
    known = _count(document)
    # A colon that lies in no string follows a name: no more of them than names, and none is lost.
    if body.count(b":") > known and _colons(body) > known:
        _check(json.loads(body, object_pairs_hook=tuple, parse_int=_number, parse_float=_number))


def _count(document: dict[str, Any]) -> int:
    """The names in it, but for those in lists that do not begin with an object: the body is looked
    at more closely where there are such.
    """
    found = len(document)
    for value in document.values():
        kind = type(value)
        if kind is dict:
            found += _count(value)
        elif kind is list and value and type(value[0]) is dict:
            found += sum([_count(inner) for inner in value if type(inner) is dict])
    return found


def _colons(body: bytes) -> int:
    """Those that lie in no string."""
    return sum(
        int(np.count_nonzero((text == ord(":")) & outside)) for text, outside in unquoted(body)
    )


def _number(_: str) -> None:
    """Which one it is does not matter here."""


def _check(value: Any, *, path: str = "") -> None:
    """Objects are tuples of pairs here."""
    if type(value) is tuple:
        found = set()
        for name, inner in value:
            field = f"{path}.{shorten(name)}" if path else shorten(name)
            if name in found:
                raise BadRequestError.of_field(field, "is given twice", remedy="give it once")
            found.add(name)
            _check(inner, path=field)
    elif type(value) is list:
        for index, inner in enumerate(value):
            if inner:
                _check(inner, path=f"{path}[{index}]")
