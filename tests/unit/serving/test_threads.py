"""What is done beside the event loop is waited for as long as a request may take."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from contextlib import asynccontextmanager
from functools import partial

import pytest

from serving.departure import ClientGoneError, Departure
from serving.errors import DeadlineExceededError
from serving.threads import Threads
from tests.garbage import no_collection

MINUTE = 60.0


@asynccontextmanager
async def one_thread():
    """It, and what lets go whatever waits in it."""
    threads, go = Threads(1, name="test"), threading.Event()
    try:
        yield threads, go
    finally:
        go.set()
        threads.close()


def run(threads, function, *, seconds=MINUTE, departure=None):
    return asyncio.ensure_future(
        threads.run(
            function,
            deadline=time.monotonic() + seconds,
            timeout_ms=seconds * 1000,
            departure=departure,
        )
    )


def test_what_a_function_returns_or_raises_comes_back_and_a_departure_is_forgotten():
    async def test():
        departure = Departure()
        async with one_thread() as (threads, _):
            assert await run(threads, lambda: 7, departure=departure) == 7
            with pytest.raises(ZeroDivisionError):
                await run(threads, lambda: 1 / 0, departure=departure)
        assert departure._tell is None

    asyncio.run(test())


@pytest.mark.parametrize("leaves", [True, False], ids=["its client leaves", "its time is up"])
def test_what_has_not_begun_never_does_when(leaves):
    async def test():
        begun, departure = [], Departure()
        async with one_thread() as (threads, go):
            first = run(threads, lambda: go.wait(MINUTE))
            second = run(
                threads,
                lambda: begun.append(True),
                seconds=MINUTE if leaves else 0.05,
                departure=departure,
            )
            await asyncio.sleep(0)
            if leaves:
                departure.happen()
            with pytest.raises(ClientGoneError if leaves else DeadlineExceededError):
                await second
            assert not first.done()
            go.set()
            await first
            await run(threads, lambda: None)
            assert begun == []

    asyncio.run(test())


@pytest.mark.parametrize("leaves", [True, False], ids=["its client leaves", "its time is up"])
def test_what_has_begun_is_not_waited_for_when(leaves):
    async def test():
        began, departure = threading.Event(), Departure()
        async with one_thread() as (threads, go):

            def work():
                began.set()
                go.wait(MINUTE)

            asked = run(threads, work, seconds=MINUTE if leaves else 0.5, departure=departure)
            while not began.is_set():
                await asyncio.sleep(0.001)
            if leaves:
                departure.happen()
            with pytest.raises(ClientGoneError if leaves else DeadlineExceededError):
                await asked
            assert not go.is_set()

    asyncio.run(test())


def test_what_is_given_up_keeps_nothing_while_the_thread_is_busy():
    async def test():
        departure = Departure()

        def work() -> None:
            """With all that it has in hand."""

        kept = weakref.ref(work)
        async with one_thread() as (threads, go):
            first = run(threads, lambda: go.wait(MINUTE))
            second = run(threads, work, departure=departure)
            del work
            await asyncio.sleep(0)
            departure.happen()
            await asyncio.wait([second])
            assert isinstance(second.exception(), ClientGoneError)
            del second
            assert kept() is None
            go.set()
            await first

    asyncio.run(test())


def test_who_comes_too_late_or_has_gone_is_not_begun():
    async def test():
        begun, departure = [], Departure()
        departure.happen()
        async with one_thread() as (threads, go):
            first = run(threads, lambda: go.wait(MINUTE))
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceededError):
                await run(threads, lambda: begun.append(1), seconds=-1.0)
            with pytest.raises(ClientGoneError):
                await run(threads, lambda: begun.append(2), departure=departure)
            go.set()
            await first
        assert begun == []

    asyncio.run(test())


def test_who_waits_can_be_told_why_it_waits_in_vain():
    async def test():
        async with one_thread() as (threads, go):
            errands = [run(threads, lambda: go.wait(MINUTE)) for _ in range(2)]
            await asyncio.sleep(0)
            threads.fail_all(lambda: KeyError("stopping"))
            for errand in errands:
                with pytest.raises(KeyError, match="stopping"):
                    await errand
            go.set()

    asyncio.run(test())


def test_nothing_is_kept_of_what_failed():
    class Body:
        """Stands for what is large."""

    async def test():
        body = Body()
        known = weakref.ref(body)
        async with one_thread() as (threads, _):

            def fail(body):
                raise KeyError("no")

            asked = run(threads, partial(fail, body))
            del body
            with pytest.raises(KeyError):
                await asked
            del asked
            await run(threads, lambda: None)  # the thread itself forgets its last errand
            return known()

    with no_collection():
        assert asyncio.run(test()) is None
