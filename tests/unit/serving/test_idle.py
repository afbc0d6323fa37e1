from __future__ import annotations

import asyncio

import pytest

from serving.idle import Idle

SECONDS = 10.0


class Loop:
    """Its time passes when it is told to."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, seconds, function):
        timer = asyncio.TimerHandle(self.now + seconds, function, (), self)
        self.timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, timer):
        self.timers.remove(timer)

    def pass_to(self, now):
        while due := [timer for timer in self.timers if timer.when() <= now]:
            self.now = due[0].when()
            self.timers.remove(due[0])
            due[0]._run()
        self.now = now

    def get_debug(self):
        return False


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def closed():
    return []


@pytest.fixture
def idle(loop, closed):
    return Idle(loop, seconds=SECONDS, close=lambda: closed.append(loop.now))


def test_a_connection_ends_so_long_after_its_last_answer(loop, idle, closed):
    idle.begin()
    for now in (4.0, 12.0, 13.0):
        loop.pass_to(now)
        idle.end()
        idle.begin()
        assert len(loop.timers) == 1
    loop.pass_to(22.9)
    assert not closed
    loop.pass_to(30.0)
    assert closed == [23.0]


def test_a_request_that_takes_longer_is_waited_for(loop, idle, closed):
    idle.begin()
    loop.pass_to(1.0)
    idle.end()
    loop.pass_to(100.0)
    assert not closed
    idle.begin()
    loop.pass_to(200.0)
    assert closed == [110.0]


def test_nothing_is_left_of_a_connection_that_is_gone(loop, idle, closed):
    idle.begin()
    idle.stop()
    assert not loop.timers
