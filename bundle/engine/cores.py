"""Cores: how many this process may use, whatever the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores(limit: Path = CGROUP_LIMIT) -> int:
    """Those that the scheduler gives this process, or a container's quota where that is less."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(limit)))


def _quota(limit: Path) -> int:
    """A container's CPU time in whole cores, rounded up; as good as endless where none is set."""
    endless = 2**31
    try:
        quota, period = limit.read_text().split()
        return endless if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return endless
