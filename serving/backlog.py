"""Backlog: what a worker said of its queue when it turned a request away, for as long as it holds.

Whoever would be turned away for the same reason need not be prepared for it, nor ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.served_model import ModelKey

LONGEST = 0.1
"""Seconds for which it is believed at most: those who wait may go, and the queue with them."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A request of so many samples, with so many seconds left, came too late until then."""

    samples: int
    left: float
    until: float
    wait: float


class Backlog:
    """Of one worker. Times are on time.monotonic's clock."""

    def __init__(self) -> None:
        self._refusals: dict[ModelKey, _Refusal] = {}

    def refused(
        self,
        model: ModelKey,
        *,
        samples: int,
        left: float,
        late: float,
        wait: float,
        now: float,
    ) -> None:
        """A request with `left` seconds would have been answered `late` seconds too late: the queue
        has to get shorter by as much first. `wait`: how long all of it takes.
        """
        until = now + min(late, LONGEST)
        self._refusals[model] = _Refusal(samples, left, until, now + wait)

    def wait(self, model: ModelKey, *, samples: int, left: float, now: float) -> float | None:
        """How long what waits will take, if such a request cannot be in time; None if it may be."""
        found = self._refusals.get(model)
        if found is None or samples < found.samples or left > found.left or now >= found.until:
            return None
        return max(0.0, found.wait - now)
