"""Reach: how an API process gets to a worker to which it cannot connect at once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from serving.transport import Link

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
"""Back-off between two attempts to reach a worker."""


async def reach(connect: Callable[[], Awaitable[Link]]) -> Link | None:
    """The connection, or None where nobody listens. What keeps this process from it passes, as
    where no descriptor is left: it is tried again while somebody listens there.
    """
    for delay in _growing_delays():
        try:
            return await connect()
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError as error:
            fields = {"reason": str(error), "delay_seconds": delay}
            log.warning("a worker cannot be reached", extra={"fields": fields})
            await asyncio.sleep(delay)
    raise AssertionError("the delays have no end")


def _growing_delays() -> Iterator[float]:
    """Seconds between two attempts, without end."""
    delay = FIRST_DELAY_SECONDS
    while True:
        yield delay
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)
