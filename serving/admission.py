"""Admission: a request's stay, from before anything is read of it until it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.exchange import Exchange
    from serving.held import Held
    from serving.room import Room


class Admission:
    """A context. It takes a place in the room, and at the end gives back that and what is held of
    the request's body, whatever becomes of the request.
    """

    __slots__ = ("_exchange", "_held", "_room")

    def __init__(self, exchange: Exchange, room: Room, held: Held) -> None:
        self._exchange = exchange
        self._room = room
        self._held = held

    def __enter__(self) -> None:
        """Raises UnavailableError where there is no more room, or none yet."""
        self._room.enter()

    def __exit__(self, *_: object) -> None:
        exchange = self._exchange
        self._held.release(exchange.held)
        exchange.held = 0
        self._room.leave()
