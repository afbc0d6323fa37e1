"""Departure: the end of a client's connection, and who is to be told of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ClientGoneError(Exception):
    """Nobody is left to answer."""


class Departure:
    """Of one connection, which answers one request at a time."""

    __slots__ = ("_gone", "_tell")

    def __init__(self) -> None:
        self._gone = False
        self._tell: Callable[[], None] | None = None

    def watch(self, tell: Callable[[], None]) -> None:
        """Call back, once, when the client is gone: now if it already is."""
        self._tell = tell
        if self._gone:
            tell()

    def forget(self) -> None:
        """It does not matter any more."""
        self._tell = None

    def happen(self) -> None:
        """The connection is lost."""
        self._gone = True
        if self._tell is not None:
            self._tell()
