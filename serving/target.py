"""Target: what a request asks for, as the ASGI scope has it."""

from __future__ import annotations

import urllib.parse
from functools import lru_cache
from typing import NamedTuple

import httptools

LONGEST = 256
"""Bytes of a target that is remembered: most are of the few that a server has."""


class Target(NamedTuple):
    """Path and query of a request line."""

    path: str
    """Decoded."""
    raw_path: bytes
    query: bytes


def read_target(url: bytes) -> Target:
    """As uvicorn reads it. Raises what makes the parser refuse the request."""
    return _remembered(url) if len(url) <= LONGEST else _read(url)


def _read(url: bytes) -> Target:
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return Target(urllib.parse.unquote(path), parsed.path, parsed.query or b"")


_remembered = lru_cache(maxsize=256)(_read)
