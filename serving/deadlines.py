"""Deadlines: one timer for all who have to be answered at about the same time."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Protocol

STEPS_A_SECOND = 1000
COARSE_STEPS = 10
"""So many are one, unless the deadline is near: who set it counts in milliseconds then."""
NEAR_SECONDS = 0.1


class Waiter(Protocol):
    """Who may wait in vain."""

    def expire(self) -> None:
        """It is time."""


@dataclass(slots=True)
class _Step:
    """Those who are told at the same time."""

    timer: asyncio.TimerHandle
    waiters: set[Waiter] = field(default_factory=set)


class Deadlines:
    """Of one event loop. There is no timer where nobody waits."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}

    def add(self, waiter: Waiter, deadline: float) -> int:
        """Tell it when the deadline, on time.monotonic's clock, has passed: up to 10 ms later, or
        1 ms where the deadline is near. What is returned is needed to take that back.
        """
        now = time.monotonic()
        number = math.ceil(deadline * STEPS_A_SECOND)
        if deadline - now > NEAR_SECONDS:
            number += -number % COARSE_STEPS
        step = self._steps.get(number)
        if step is None:
            left = number / STEPS_A_SECOND - now
            timer = asyncio.get_running_loop().call_later(max(0.0, left), self._pass, number)
            step = self._steps[number] = _Step(timer)
        step.waiters.add(waiter)
        return number

    def remove(self, waiter: Waiter, number: int) -> None:
        """It waits no more."""
        step = self._steps.get(number)
        if step is not None:
            step.waiters.discard(waiter)
            if not step.waiters:
                step.timer.cancel()
                del self._steps[number]

    def _pass(self, number: int) -> None:
        for waiter in self._steps.pop(number).waiters:
            waiter.expire()
