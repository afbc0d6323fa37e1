"""Load: how busy others kept the machine while something was measured."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import psutil

from bundle.engine.cores import own_cores

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
        """`others`: the share of the cores that this process may use which others used, 0 to 1."""
        elapsed = time.monotonic() - self._started
        cores = len(own_cores())
        now = self._own_seconds()  # without what has ended: what it used since counts as others'
        own = sum(seconds - self._own.get(pid, 0.0) for pid, seconds in now.items())
        others = _busy_seconds() - self._busy - own
        return {
            "others": round(min(1.0, max(0.0, others / (elapsed * cores))), 3) if elapsed else 0.0,
            "average": [round(value, 2) for value in os.getloadavg()],
            "cores": cores,
            "seconds": round(elapsed, 1),
        }

    def _own_seconds(self) -> dict[int, float]:
        """By pid, of those that live."""
        found = {}
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        return found


def _busy_seconds() -> float:
    """Of those cores together."""
    every = psutil.cpu_times(percpu=True)
    return sum(_busy(every[core]) for core in own_cores())


def _busy(times: Any) -> float:
    waiting = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times) - waiting - getattr(times, "guest", 0.0))
