"""Room: how many requests an API process holds at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.errors import UnavailableError

if TYPE_CHECKING:
    from serving.drain import Lifecycle


class Room:
    """A context that every request is in while it is answered."""

    def __init__(self, size: int, lifecycle: Lifecycle | None = None) -> None:
        """Without a `lifecycle` there is room before the server has started."""
        self._size = size
        self._lifecycle = lifecycle
        self._held = 0

    def enter(self) -> None:
        """One more is in. Raises UnavailableError where there is no more room, or none yet."""
        if self._lifecycle is not None and not self._lifecycle.started:
            raise UnavailableError("the server is starting", code="starting")
        if self._held >= self._size:
            raise UnavailableError("too many requests are in flight", code="overloaded")
        self._held += 1

    def leave(self) -> None:
        """One of them is answered."""
        self._held -= 1

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()
