"""Held: how many bytes of bodies an API process holds at once."""

from __future__ import annotations

from serving.errors import UnavailableError


class Held:
    """Those of requests that are being read or answered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0

    def add(self, size: int) -> None:
        """So many more. Raises UnavailableError, and adds nothing, where there is no room."""
        if self._bytes + size > self._most:
            raise UnavailableError(
                f"the bodies of the requests in flight take up {self._bytes} bytes, and {size} "
                f"more would be over {self._most}",
                code="overloaded",
            )
        self._bytes += size

    def release(self, size: int) -> None:
        """So many are not held any more."""
        self._bytes -= size
