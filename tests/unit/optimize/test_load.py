"""How busy others were while something was measured."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from optimize import load
from optimize.load import LoadMeter


@pytest.fixture
def cores(monkeypatch):
    """Seconds that three cores were busy, of which this process may use the last two."""
    busy = [0.0, 0.0, 0.0]

    def times(*, percpu: bool):
        assert percpu
        return [_Times(user=seconds, idle=1000.0) for seconds in busy]

    monkeypatch.setattr(load.psutil, "cpu_times", times)
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    return busy


class _Times(tuple):
    """As psutil has them."""

    __slots__ = ()

    def __new__(cls, *, user: float, idle: float):
        return super().__new__(cls, (user, idle))

    @property
    def idle(self) -> float:
        return self[1]


def test_load_is_that_of_the_cores_that_may_be_used(cores):
    meter = LoadMeter([])
    time.sleep(0.1)
    cores[0] += 100.0
    assert meter.stop()["others"] <= 0.05
    cores[1] += 100.0
    found = meter.stop()
    assert (found["others"], found["cores"]) == (1.0, 2)


def test_what_a_process_had_used_before_it_ended_is_nobodys_load(cores):
    code = "while True: pass"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while psutil.Process(child.pid).cpu_times().user < 0.5:
            assert time.monotonic() < deadline
        meter = LoadMeter([child.pid])
    finally:
        child.kill()
        child.wait()
    time.sleep(0.1)
    assert meter.stop()["others"] == 0.0
