"""What is turned away at the door, and how it is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from serving.arrivals import Arrivals
from serving.drain import Lifecycle
from serving.errors import UnavailableError
from serving.exchange import Exchange
from serving.intake import Intake
from serving.metrics import RequestRecord
from serving.routing.halt import Halt
from serving.settings import Settings
from serving.work import REJECTED


class FullWorkers:
    """Turn everything away."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def check(self, served, *, samples, deadline) -> None:
        self.asked.append(samples)
        raise UnavailableError("the queue is full", code="overloaded")


def test_a_refused_batch_counts_all_of_its_samples():
    dropped, workers = [], FullWorkers()
    intake = Intake(
        Settings(batch_size=32),
        dispatcher=workers,
        lifecycle=Lifecycle(expected_workers=1),
        metrics=SimpleNamespace(dropped=lambda *counted: dropped.append(counted)),
        arrivals=Arrivals(),
        halt=Halt(),
    )
    with pytest.raises(UnavailableError):
        intake.check(Exchange("a", RequestRecord("/")), None, samples=256, timeout_ms=None)
    intake.close()
    assert workers.asked == [32]  # more do not run at once
    assert dropped == [(REJECTED, 256)]
