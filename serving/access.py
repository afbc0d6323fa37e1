"""AccessLog: a line for the requests that an operator should see; with --log-level debug for all.

Faults are warnings, slow requests informations. Refusals for want of room (503) are neither: an
overload would fill the disk with them, and they are counted.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

    from serving.exchange import Exchange

log = logging.getLogger(__name__)

FAULT = 500
UNAVAILABLE = 503
MOST_LINES_A_SECOND = 10
"""Above debug: what comes beyond it is counted in the next line's `left_out`."""


class AccessLog:
    """Of one process."""

    def __init__(self, *, slow_seconds: float | None = None) -> None:
        """`slow_seconds`: from when on a request is slow; None for never."""
        self._slow = slow_seconds
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def request(self, scope: Scope, exchange: Exchange, *, status: int, seconds: float) -> None:
        """A request was answered with that status, 499 if nobody was left to be answered."""
        level = self._level(status, seconds)
        if not log.isEnabledFor(level):
            return
        fields = _line(scope, exchange, status, seconds)
        if level > logging.DEBUG:
            if not self._has_room():
                self._left_out += 1
                return
            if self._left_out:
                fields["left_out"] = self._left_out
                self._left_out = 0
        event = "slow request" if level == logging.INFO else "request"
        log.log(level, event, extra={"fields": fields})

    def _level(self, status: int, seconds: float) -> int:
        if status >= FAULT and status != UNAVAILABLE:
            return logging.WARNING
        if self._slow is not None and seconds >= self._slow:
            return logging.INFO
        return logging.DEBUG

    def _has_room(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= MOST_LINES_A_SECOND


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
