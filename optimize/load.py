"""Load: how busy others kept the machine while something was measured."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence


class LoadMeter:
    """Measures from its construction to `stop`."""

    def __init__(self, pids: Sequence[int]) -> None:
        """`pids`: the processes whose work is no load, besides this one."""
        self._processes = [psutil.Process(pid) for pid in (*pids, os.getpid())]
        self._started = time.monotonic()
        self._busy = _busy_seconds()
        self._own = self._own_seconds()

    def stop(self) -> dict[str, Any]:
        """`others`: the share of all cores that other processes used, 0 to 1."""
        elapsed = time.monotonic() - self._started
        cores = os.cpu_count() or 1
        others = (_busy_seconds() - self._busy) - (self._own_seconds() - self._own)
        return {
            "others": round(min(1.0, max(0.0, others / (elapsed * cores))), 3) if elapsed else 0.0,
            "average": [round(value, 2) for value in os.getloadavg()],
            "cores": cores,
            "seconds": round(elapsed, 1),
        }

    def _own_seconds(self) -> float:
        total = 0.0
        for process in self._processes:
            try:
                times = process.cpu_times()
            except psutil.Error:  # it has ended: what it used since counts as others'
                continue
            total += times.user + times.system
        return total


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    waiting = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times) - waiting - getattr(times, "guest", 0.0))
