"""The process that started this one: what becomes of this one when it is gone."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, signum: signal.Signals) -> bool:
    """Let Linux send `signum` when the process `parent` ends, however it does.

    Returns whether it is there still.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    return os.getppid() == parent
