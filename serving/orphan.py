"""Orphan: a process whose parent has died."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """For one that may be stopped when its parent dies: it would not see that, and nobody would let
    it go on.

    It leaves its parent's process group: the system may hang up on one of which a process is
    stopped.
    """
    with contextlib.suppress(AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)
