from __future__ import annotations

import asyncio
import time

import numpy as np

from serving.deadlines import COARSE_STEPS, STEPS_A_SECOND, Deadlines


class Waiter:
    def __init__(self):
        self.expired: float | None = None

    def expire(self):
        self.expired = time.monotonic()


def test_who_waits_is_told_when_its_deadline_has_passed_and_not_before():
    async def run():
        deadlines = Deadlines()
        now = time.monotonic()
        waiters = {Waiter(): now + seconds for seconds in (-1.0, 0.0, 0.03, 0.031, 0.05)}
        for waiter, deadline in waiters.items():
            deadlines.add(waiter, deadline)
        async with asyncio.timeout(10):
            while any(waiter.expired is None for waiter in waiters):
                await asyncio.sleep(0.01)
        return [(deadline, waiter.expired) for waiter, deadline in waiters.items()]

    assert all(deadline <= expired + 0.002 for deadline, expired in asyncio.run(run()))


def test_who_waits_no_more_is_not_told_and_nothing_is_remembered_of_it():
    async def run():
        deadlines = Deadlines()
        gone, stays = Waiter(), Waiter()
        deadline = time.monotonic() + 0.02
        numbers = [deadlines.add(waiter, deadline) for waiter in (gone, stays)]
        deadlines.remove(gone, numbers[0])
        await asyncio.sleep(0.05)
        told = (gone.expired, stays.expired is not None)
        deadlines.remove(stays, numbers[1])  # it has been told already
        number = deadlines.add(gone, time.monotonic() + 60)
        deadlines.remove(gone, number)
        return told, deadlines._steps

    assert asyncio.run(run()) == ((None, True), {})


def test_far_deadlines_share_their_timers_and_near_ones_are_told_of_by_the_millisecond():
    async def run():
        deadlines = Deadlines()
        now = time.monotonic()
        return [
            [(deadline, deadlines.add(Waiter(), deadline)) for deadline in wanted]
            for wanted in (now + 60 + np.arange(40) / 1000, now + np.arange(40) / 1000)
        ]

    far, near = asyncio.run(run())
    assert len({number for _, number in far}) in (4, 5)
    assert len({number for _, number in near}) == len(near)
    for shared, steps in ((far, COARSE_STEPS), (near, 1)):
        for deadline, number in shared:
            late = number / STEPS_A_SECOND - deadline
            assert -1e-6 < late < steps / STEPS_A_SECOND + 1e-6
