"""Recorder: what an API process has seen of versions that share their traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.metrics import RequestRecord
    from serving.routing.table import RoutingTable

TELL_SECONDS = 1.0
"""How often the supervisor is told."""


class Recorder:
    """Costs nothing where a model has one version only."""

    def __init__(self, table: RoutingTable, send: Callable[[Observed], None]) -> None:
        self._table = table
        self._send = send
        self._seen: dict[tuple[str, str], Outcomes] = {}

    def record(self, record: RequestRecord, status: int, seconds: float) -> None:
        """A request was answered.

        What counts is the time in the engine, where it is known: who waits for a slow version in
        the same queue is not slow.
        """
        if self._table.is_split(record.model):
            seen = self._seen.setdefault((record.model, record.version), Outcomes())
            seen.record(status, record.phases.get("infer", seconds))

    def tell(self) -> None:
        """Send what was seen since the last time."""
        if self._seen:
            seen, self._seen = self._seen, {}
            self._send(Observed(seen))
