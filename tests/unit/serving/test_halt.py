"""A process that stands still while there are requests, and goes on when there are none."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import psutil
import pytest

from serving.routing import halt
from serving.routing.halt import Board, Halt, every_core_is_wanted
from serving.settings import Settings
from tests.running_server import eventually

pytestmark = pytest.mark.skipif(not halt.SUPPORTED, reason="Linux alone can do it safely")

CODE = """
import os, signal
from serving.routing.halt import be_haltable
child = os.fork()
if not child:
    be_haltable()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
print(child)
"""


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
    monkeypatch.setattr(halt, "LONGEST_SECONDS", 3600.0)


@pytest.fixture
def brief(monkeypatch):
    """The longest halt is short, and a moment so long that no test sees the end of it."""
    monkeypatch.setattr(halt, "LONGEST_SECONDS", 0.05)
    monkeypatch.setattr(halt, "MOMENT_SECONDS", 3600.0)


def still(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def run(*steps) -> None:
    """And what comes of them soon."""

    async def all_steps() -> None:
        for step in steps:
            step()
        await asyncio.sleep(2 * halt.QUIET_SECONDS)

    asyncio.run(all_steps())


def stopped_by_one_of_two(shadow: psutil.Process) -> tuple[Halt, Halt]:
    """API processes, of which the first has a request."""
    board = Board(2)
    one, other = Halt(board, 0), Halt(board, 1)
    one.of(shadow.pid)
    other.of(shadow.pid)
    one.begin()
    eventually(lambda: still(shadow))
    return one, other


@pytest.mark.usefixtures("longest")
def test_it_is_still_while_any_api_process_has_requests(shadow):
    board = Board(2)
    one, other = Halt(board, 0), Halt(board, 1)
    run(
        lambda: one.of(shadow.pid),
        lambda: other.of(shadow.pid),
        one.begin,
        one.begin,
        lambda: eventually(lambda: still(shadow)),
        other.begin,
        one.end,
        one.end,
    )
    assert still(shadow)
    run(other.end)
    eventually(lambda: not still(shadow))


@pytest.mark.usefixtures("longest")
def test_a_process_that_comes_while_there_are_requests_is_stopped_at_once(shadow):
    one = Halt(Board(1))
    run(one.begin, lambda: one.of(shadow.pid), lambda: eventually(lambda: still(shadow)))


@pytest.mark.usefixtures("longest")
def test_who_died_with_requests_keeps_it_from_nothing(shadow):
    board = Board(2)
    died, other = Halt(board, 0), Halt(board, 1)
    run(lambda: died.of(shadow.pid), died.begin, lambda: eventually(lambda: still(shadow)))
    board.busy(0, False)  # as the supervisor says
    run(lambda: other.of(shadow.pid))
    eventually(lambda: not still(shadow))


@pytest.mark.usefixtures("brief")
def test_where_there_is_always_a_request_it_has_a_moment_in_which_nobody_stops_it(shadow):
    async def always() -> None:
        _, other = stopped_by_one_of_two(shadow)
        await asyncio.to_thread(eventually, lambda: not still(shadow))
        other.begin()
        assert not still(shadow)

    asyncio.run(always())


@pytest.mark.usefixtures("longest")
def test_it_does_not_go_on_between_requests_that_follow_each_other(shadow, monkeypatch):
    monkeypatch.setattr(halt, "QUIET_SECONDS", 0.5)
    one = Halt(Board(1))

    async def follow() -> None:
        one.of(shadow.pid)
        for _ in range(10):
            one.begin()
            one.end()
            await asyncio.sleep(0.1)
            assert still(shadow)
        await asyncio.to_thread(eventually, lambda: not still(shadow))

    asyncio.run(follow())


@pytest.mark.usefixtures("brief")
def test_where_requests_of_two_processes_overlap_without_end_it_has_a_moment_too(shadow):
    async def chain() -> None:
        one, other = stopped_by_one_of_two(shadow)
        while still(shadow):
            other.begin()
            one.end()
            await asyncio.sleep(2 * halt.QUIET_SECONDS)
            one.begin()
            other.end()
            await asyncio.sleep(2 * halt.QUIET_SECONDS)

    asyncio.run(chain())


def test_after_the_moment_it_is_stopped_again(shadow, monkeypatch):
    monkeypatch.setattr(halt, "LONGEST_SECONDS", 0.3)
    monkeypatch.setattr(halt, "MOMENT_SECONDS", 0.3)
    one = Halt(Board(1))

    async def always() -> None:
        one.of(shadow.pid)
        one.begin()
        for _ in range(3):
            await asyncio.to_thread(eventually, lambda: still(shadow))
            await asyncio.to_thread(eventually, lambda: not still(shadow))

    asyncio.run(always())


def test_a_process_that_is_gone_is_not_missed(shadow):
    one = Halt(Board(1))
    run(lambda: one.of(shadow.pid), shadow.kill, shadow.wait, one.begin, one.end)
    run(lambda: one.of(shadow.pid), one.begin, one.end)


def test_a_system_that_forbids_it_fails_no_request(shadow, monkeypatch, caplog):
    def forbidden(*_):
        raise PermissionError("a container may forbid it")

    one = Halt(Board(1))
    run(lambda: one.of(shadow.pid))
    monkeypatch.setattr("signal.pidfd_send_signal", forbidden)
    run(one.begin, one.end, one.begin, one.end)
    assert [record.fields for record in caplog.records] == [{"reason": "a container may forbid it"}]


def test_nothing_is_stopped_where_a_core_is_left(shadow):
    one = Halt()
    run(lambda: one.of(shadow.pid), one.begin)
    assert not still(shadow)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(api_processes=1, threads=2), False),
        (Settings(api_processes=2, threads=2), True),
        (Settings(api_processes=1, threads=1, workers=3), True),
        (Settings(api_processes=1, threads=0), True),
        (Settings(api_processes=1, threads=0, provider="cuda"), False),
    ],
)
def test_a_core_is_left_where_threads_are_fewer(settings, wanted, monkeypatch):
    monkeypatch.setattr(halt, "available_cores", lambda: 4)
    assert every_core_is_wanted(settings) == wanted


def test_one_that_stands_still_ends_with_its_parent():
    done = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=60
    )
    eventually(lambda: not alive(int(done.stdout)))


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
