"""When the registry is looked at, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from serving.routing.schedule import LONGEST_RETRY, SHORTEST_PAUSE, Schedule


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_the_first_look_comes_at_once_and_the_next_ones_within_a_period(clock):
    schedule = Schedule(10.0, clock=clock)
    assert schedule.seconds() == 0
    schedule.looked()
    assert 8 <= schedule.seconds() <= 10


def test_without_a_period_a_look_comes_when_somebody_rings(clock):
    schedule = Schedule(0.0, clock=clock)
    assert schedule.seconds() is None
    schedule.ring()
    assert schedule.seconds() == 0
    schedule.looked()
    assert schedule.seconds() is None
    schedule.ring()
    assert schedule.seconds() == SHORTEST_PAUSE


@pytest.mark.parametrize("period", [0.0, 3600.0])
def test_what_the_registry_is_owed_it_is_told_sooner_and_each_time_later(clock, period):
    schedule = Schedule(period, clock=clock)
    schedule.looked()
    waits = []
    for _ in range(9):
        schedule.owing(True)
        waits.append(schedule.seconds())
        clock.now += waits[-1]
        schedule.owing(True)  # other messages were there before it could look
        assert schedule.seconds() == 0
        schedule.looked()
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_RETRY, LONGEST_RETRY, LONGEST_RETRY]
    schedule.owing(False)
    assert schedule.seconds() in (None, pytest.approx(3240, abs=361))
    schedule.owing(True)
    assert schedule.seconds() == 1
