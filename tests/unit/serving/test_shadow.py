"""Shadows whose answers cannot be compared: counted each time, and explained once."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from serving.routing.messages import Routes
from serving.routing.shadow import Shadows
from serving.routing.shadow_metrics import Pair, ShadowMetrics
from serving.routing.split import Split
from serving.routing.table import RoutingTable
from serving.routing.wanted import Route, Shadow
from serving.served_model import Part


class Counted(ShadowMetrics):
    """Keeps whose answers failed, and why others were not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[Pair] = []
        self.reasons: list[str] = []

    def failed(self, pair: Pair) -> None:
        super().failed(pair)
        self.pairs.append(pair)

    def dropped(self, pair: Pair, reason: str) -> None:
        super().dropped(pair, reason)
        self.reasons.append(reason)


async def ask(shadows: Shadows, times: int) -> None:
    """A version that nothing is known of stands in for one that is odd in any way."""
    served, odd = (
        SimpleNamespace(
            info=SimpleNamespace(name="m", version=version, key=("m", version)), key=("m", version)
        )
        for version in ("1", "2")
    )
    shadows._catalog.update([odd])
    for _ in range(times):
        shadows.mirror(served, [Part({}, (0,), "")], [], lambda _: [])
        await asyncio.sleep(0.01)
    shadows.close()


@pytest.fixture
def table():
    """Version 2 is the shadow of 1."""
    route = Route(
        name="m",
        salt="m",
        split=Split.of({1: 100.0}, champion=1),
        shadow=Shadow("2", 100.0),
    )
    table = RoutingTable()
    table.update(Routes((route,)), [("m", "1")])
    return table


def test_an_odd_shadow_is_counted_as_failed_and_logged_once(table, caplog):
    caplog.set_level(logging.ERROR)
    metrics = Counted()
    asyncio.run(ask(Shadows(table, metrics), 3))
    assert metrics.pairs == [Pair("m", "1", "2")] * 3
    assert [record.getMessage() for record in caplog.records] == ["a shadow cannot be compared"]


def test_a_shadow_that_cannot_answer_is_asked_nothing_for_a_while(table, monkeypatch):
    """It is known, but no worker holds it."""
    monkeypatch.setattr("serving.routing.shadow._alike", lambda *_: True)
    metrics = Counted()
    asyncio.run(ask(Shadows(table, metrics), 3))
    assert metrics.pairs == []
    assert metrics.reasons[1:] == ["paused", "paused"]
    assert metrics.reasons[0] != "paused"
