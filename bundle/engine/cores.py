"""Cores: how many this process may use, whatever the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores(limit: Path = CGROUP_LIMIT) -> int:
    """Those that the scheduler gives this process, or a container's quota where that is less."""
    return max(1, min(len(own_cores()), _quota(limit)))


def own_cores() -> list[int]:
    """The numbers of those that the scheduler gives this process; a quota says nothing of which."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # macOS


def _quota(limit: Path) -> int:
    """A container's CPU time in whole cores, rounded up; as good as endless where none is set."""
    endless = 2**31
    try:
        quota, period = limit.read_text().split()
        return endless if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return endless
