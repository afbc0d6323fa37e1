"""What is turned away at the door, how it is counted, and what waits there."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import time
from types import SimpleNamespace

import pytest

from serving.arrivals import Arrivals
from serving.drain import Lifecycle
from serving.errors import DeadlineExceededError, UnavailableError
from serving.exchange import Exchange
from serving.intake import INFLATIONS, Intake
from serving.job import REJECTED
from serving.metrics import RequestRecord
from serving.routing.halt import Halt
from serving.scope import WHOLE
from serving.settings import Settings


class FullWorkers:
    """Turn everything away."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def check(self, served, *, samples, deadline, priority) -> None:
        self.asked.append(samples)
        raise UnavailableError("the queue is full", code="overloaded")


def intake(settings: Settings, *, workers=None, metrics=None, lifecycle=None) -> Intake:
    return Intake(
        settings,
        dispatcher=workers,
        lifecycle=lifecycle or Lifecycle(expected_workers=1),
        metrics=metrics,
        arrivals=Arrivals(),
        halt=Halt(),
    )


def test_a_refused_batch_counts_all_of_its_samples():
    dropped, workers = [], FullWorkers()
    metrics = SimpleNamespace(dropped=lambda *counted: dropped.append(counted))
    door = intake(Settings(batch_size=32), workers=workers, metrics=metrics)
    with pytest.raises(UnavailableError):
        door.check(
            Exchange("a", RequestRecord("/")), None, samples=256, timeout_ms=None, priority=1
        )
    door.close()
    assert workers.asked == [32]  # more do not run at once
    assert dropped == [(REJECTED, 256)]


@pytest.mark.parametrize("error", [None, ValueError("no"), asyncio.CancelledError()])
def test_what_is_held_of_a_request_and_its_place_are_given_back_however_it_ends(error):
    async def test():
        lifecycle = Lifecycle(expected_workers=1)
        lifecycle.update(workers=1)
        body = b"8 bytes."
        settings = Settings(
            queue_size=1,
            max_batch_instances=1,
            max_body_bytes=len(body),
            max_held_mb=len(body) / 2**20,
        )
        door = intake(settings, lifecycle=lifecycle)
        request = SimpleNamespace(scope={WHOLE: body})
        for _ in range(3):
            exchange = Exchange("a", RequestRecord("/"))
            ends = pytest.raises(type(error)) if error else contextlib.nullcontext()
            with ends, door.admit(exchange):
                assert await door.body(request, exchange) == body
                other = door.admit(Exchange("b", RequestRecord("/")))
                with pytest.raises(UnavailableError, match="in flight"), other:
                    pass
                assert exchange.held == len(body)
                if error:
                    raise error
            assert exchange.held == 0
        door.close()

    asyncio.run(test())


def test_what_takes_long_is_not_done_on_the_event_loop():
    async def test():
        door, exchange = intake(Settings()), Exchange("a", RequestRecord("/"))
        parser = await door.parsed(threading.current_thread, exchange)
        other = await door.beside(threading.current_thread, exchange, timeout_ms=None)
        assert len({parser, other, threading.current_thread()}) == 3
        door.close()

    asyncio.run(test())


def test_a_compressed_body_waits_for_its_turn_no_longer_than_its_request_may_take():
    async def test():
        door, go = intake(Settings(timeout_ms=50)), threading.Event()
        others = [
            asyncio.ensure_future(
                door._inflating.run(
                    lambda: go.wait(60), deadline=time.monotonic() + 60, timeout_ms=60_000
                )
            )
            for _ in range(INFLATIONS)
        ]
        await asyncio.sleep(0)
        request = SimpleNamespace(scope={WHOLE: gzip.compress(b"x")})
        given = {"content-encoding": "gzip"}
        with pytest.raises(DeadlineExceededError):
            await door.body(request, Exchange("a", RequestRecord("/"), given=given))
        assert not go.is_set()
        go.set()
        await asyncio.gather(*others)
        door.close()

    asyncio.run(test())
