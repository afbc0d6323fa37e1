"""A process that is stopped while there are requests, and goes on when there are none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from mmap import mmap

import psutil
import pytest

from serving.routing import pause
from serving.routing.pause import Pause, every_core_is_wanted
from serving.settings import Settings
from tests.running_server import eventually

pytestmark = pytest.mark.skipif(not pause.SUPPORTED, reason="Linux alone can do it safely")


@pytest.fixture
def shadow():
    """Some process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.kill()
    process.communicate()


@pytest.fixture
def longest(monkeypatch):
    """So long that no test sees the end of it."""
    monkeypatch.setattr(pause, "LONGEST_SECONDS", 3600.0)


def still(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def run(steps) -> None:
    async def all_steps() -> None:
        for step in steps:
            step()

    asyncio.run(all_steps())


@pytest.mark.usefixtures("longest")
def test_it_is_still_while_any_api_process_has_requests(shadow):
    busy = mmap(-1, 2)
    one, other = Pause(busy, 0), Pause(busy, 1)
    run(
        [
            lambda: one.of(shadow.pid),
            lambda: other.of(shadow.pid),
            one.begin,
            one.begin,
            lambda: eventually(lambda: still(shadow)),
            other.begin,
            one.end,
            one.end,
        ]
    )
    assert still(shadow)
    run([other.end])
    eventually(lambda: not still(shadow))


@pytest.mark.usefixtures("longest")
def test_a_process_that_comes_while_there_are_requests_is_stopped_at_once(shadow):
    one = Pause(mmap(-1, 1), 0)
    run([one.begin, lambda: one.of(shadow.pid), lambda: eventually(lambda: still(shadow))])


@pytest.mark.usefixtures("longest")
def test_who_takes_the_place_of_one_that_died_with_requests_lets_it_go_on(shadow):
    busy = mmap(-1, 1)
    died = Pause(busy, 0)
    run([lambda: died.of(shadow.pid), died.begin, lambda: eventually(lambda: still(shadow))])
    run([lambda: Pause(busy, 0).of(shadow.pid)])
    eventually(lambda: not still(shadow))


def test_where_there_is_always_a_request_it_is_not_still_for_ever(shadow, monkeypatch):
    monkeypatch.setattr(pause, "LONGEST_SECONDS", 0.05)
    one = Pause(mmap(-1, 1), 0)

    async def always() -> None:
        one.of(shadow.pid)
        one.begin()
        eventually(lambda: still(shadow))
        await asyncio.to_thread(eventually, lambda: not still(shadow))

    asyncio.run(always())


def test_a_process_that_is_gone_is_not_missed(shadow):
    one = Pause(mmap(-1, 1), 0)
    run([lambda: one.of(shadow.pid), shadow.kill, shadow.wait, one.begin, one.end])
    run([lambda: one.of(shadow.pid), one.begin, one.end])


def test_nothing_is_stopped_where_a_core_is_left(shadow):
    one = Pause()
    run([lambda: one.of(shadow.pid), one.begin])
    assert not still(shadow)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(api_processes=1, threads=2), False),
        (Settings(api_processes=2, threads=2), True),
        (Settings(api_processes=1, threads=1, workers=3), True),
        (Settings(api_processes=1, threads=0), True),
    ],
)
def test_a_core_is_left_where_threads_are_fewer(settings, wanted, monkeypatch):
    monkeypatch.setattr(pause, "available_cores", lambda: 4)
    assert every_core_is_wanted(settings) == wanted


def test_one_that_is_still_leaves_with_its_parent():
    code = """
import os, signal
from serving.routing.pause import leave_with_parent
child = os.fork()
if not child:
    leave_with_parent()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
print(child)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    eventually(lambda: not alive(int(done.stdout)))


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
