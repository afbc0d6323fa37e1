"""Backlog: what a worker said of its queue when it turned a request away, for as long as it holds.

Whoever would be turned away for the same reason need not be prepared for it, nor ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.served_model import ModelKey

Turn = tuple["ModelKey", int]
"""The model, and the priority: whoever goes first is not turned away for those who wait."""
LONGEST = 0.1
"""Seconds for which it is believed at most: those who wait may go, and the queue with them. Nor is
it for longer than they take: a worker that has nothing to do takes everybody.
"""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """So many samples would have been done by then, behind what is to have run by `idle`."""

    samples: int
    done: float
    idle: float
    until: float
    """When it is believed no more."""


class Backlog:
    """Of one worker. Times are on time.monotonic's clock."""

    def __init__(self) -> None:
        self._refusals: dict[Turn, _Refusal] = {}

    def refused(self, turn: Turn, *, samples: int, done: float, wait: float, now: float) -> None:
        """A request was turned away because it would have been done too late. `wait`: seconds that
        all takes which goes before it.
        """
        self._refusals[turn] = _Refusal(samples, done, now + wait, now + min(wait, LONGEST))

    def wait(self, turn: Turn, *, samples: int, deadline: float, now: float) -> float | None:
        """Seconds that all takes which goes before, if such a request could not be in time, since
        nothing that comes later is done sooner. None if it may be.
        """
        found = self._refusals.get(turn)
        if found is None or samples < found.samples or deadline >= found.done or now >= found.until:
            return None
        return max(0.0, found.idle - now)
