"""What is turned away at the door, how it is counted, and what waits there."""

from __future__ import annotations

import asyncio
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
from serving.metrics import RequestRecord
from serving.routing.halt import Halt
from serving.scope import WHOLE
from serving.settings import Settings
from serving.work import REJECTED


class FullWorkers:
    """Turn everything away."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def check(self, served, *, samples, deadline, priority) -> None:
        self.asked.append(samples)
        raise UnavailableError("the queue is full", code="overloaded")


def intake(settings: Settings, *, workers=None, metrics=None) -> Intake:
    return Intake(
        settings,
        dispatcher=workers,
        lifecycle=Lifecycle(expected_workers=1),
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
