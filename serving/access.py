"""AccessLog: a line for the requests that an operator should see; with --log-level debug for all.

Faults are warnings, slow requests informations. Refusals for want of room (503) are neither: an
overload would fill the disk with them, and they are counted.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from serving.line_limit import LineLimit

if TYPE_CHECKING:
    from starlette.types import Scope

    from serving.exchange import Exchange

log = logging.getLogger(__name__)

FAULT = 500
UNAVAILABLE = 503


class AccessLog:
    """Of one process."""

    def __init__(self, *, slow_seconds: float | None = None) -> None:
        """`slow_seconds`: from when on a request is slow; None for never."""
        self._slow = slow_seconds
        self._limit = LineLimit()
        """Above debug, which is asked for."""

    def request(self, scope: Scope, exchange: Exchange, *, status: int, seconds: float) -> None:
        """A request was answered with that status, 499 if nobody was left to be answered."""
        level = self._level(status, seconds)
        if not log.isEnabledFor(level):
            return
        fields = _line(scope, exchange, status, seconds)
        if level > logging.DEBUG and not self._limit.admit(fields):
            return
        event = "slow request" if level == logging.INFO else "request"
        log.log(level, event, extra={"fields": fields})

    def _level(self, status: int, seconds: float) -> int:
        if status >= FAULT and status != UNAVAILABLE:
            return logging.WARNING
        if self._slow is not None and seconds >= self._slow:
            return logging.INFO
        return logging.DEBUG


def _line(scope: Scope, exchange: Exchange, status: int, seconds: float) -> dict[str, object]:
    record = exchange.record
    return {
        "id": exchange.request_id,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "error": exchange.error,
        "key": exchange.principal,
        "model": record.model,
        "version": record.version,
        "samples": record.samples,
        "ms": round(seconds * 1000, 3),
        **{f"{name}_ms": round(value * 1000, 3) for name, value in record.phases.items()},
    }
