"""Arrivals: bodies that are still on their way; a server that stops does not wait for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from serving.errors import ServingError


class Arrivals:
    """Those of one API process; all of it runs on its event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._stopped: Callable[[], ServingError] | None = None

    async def read(self, reading: Coroutine[None, None, bytes]) -> bytes:
        """What `read_body` returns. Raises what it raises, and the reason once all have stopped."""
        if self._stopped is not None:
            reading.close()
            raise self._stopped()
        task = asyncio.create_task(reading)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            raise self._stopped() from None
        finally:
            self._tasks.discard(task)

    def stop(self, reason: Callable[[], ServingError]) -> None:
        """What has not arrived is answered with an error, now and from now on."""
        self._stopped = reason
        for task in self._tasks:
            task.cancel()
