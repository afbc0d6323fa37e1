"""Priority: what a process leaves to others of this machine."""

from __future__ import annotations

import os
import sys

NICEST = 19
REST = 3.0
"""Times as long as it has run it then does nothing: on a GPU no priority helps."""


def give_way() -> None:
    """Compute only where nobody else wants to; so do the threads that are started from now on."""
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:  # a container may forbid it
            os.nice(NICEST)
    else:
        os.nice(NICEST)
