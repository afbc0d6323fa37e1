"""Upgrades: a client that would rather speak another protocol need not be granted that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def without_upgrade(
    method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """The head of a request that does not ask for another protocol, and else is this one."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode("ascii"))]
    lines += [
        b"%b: %b" % (name, _stays(value) if name == b"connection" else value)
        for name, value in headers
        if name not in (b"upgrade", b"http2-settings")
    ]
    return b"\r\n".join([*lines, b"", b""])


def _stays(connection: bytes) -> bytes:
    """What of that header is not about another protocol."""
    tokens = [token.strip().lower() for token in connection.split(b",")]
    return b", ".join([token for token in tokens if token in (b"close", b"keep-alive")])
