"""Priority: what a process leaves to others of this machine."""

from __future__ import annotations

import os
import sys

NICEST = 19


def give_way() -> None:
    """Compute only where nobody else wants to; so do the threads that are started from now on."""
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:  # a container may forbid it
            os.nice(NICEST)
    else:
        os.nice(NICEST)
