"""Recorder: what an API process has seen of versions that share their traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.exchange import Exchange
    from serving.routing.table import RoutingTable
    from serving.served_model import ModelKey

TICK_SECONDS = 1.0
"""How often the supervisor is told, by all API processes at the same time."""


def until_next_tick() -> float:
    """Seconds."""
    return TICK_SECONDS - time.monotonic() % TICK_SECONDS


class Recorder:
    """Costs nothing where a model has one version only."""

    def __init__(self, table: RoutingTable, send: Callable[[Observed], None]) -> None:
        self._table = table
        self._send = send
        self._seen: dict[ModelKey, Outcomes] = {}

    def record(self, exchange: Exchange, status: int) -> None:
        """A request was answered. One that names its version says nothing of what the split does.

        What counts is the time in the engine: who waits for a slow version in the same queue is not
        slow.
        """
        if exchange.routed and self._table.is_split(exchange.record.model):
            self._of((exchange.record.model, exchange.record.version)).record(status, exchange.runs)

    def overdue(self, key: ModelKey, share: float) -> None:
        """A part of a routed request ran until the server's own limit; `share`: of its batch."""
        if self._table.is_split(key[0]):
            self._of(key).overdue(share)

    def tell(self) -> None:
        """Send what was seen since the last time."""
        if self._seen:
            seen, self._seen = self._seen, {}
            self._send(Observed(seen, round(time.monotonic() / TICK_SECONDS)))

    def _of(self, key: ModelKey) -> Outcomes:
        return self._seen.setdefault(key, Outcomes())
