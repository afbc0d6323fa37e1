"""What a loader process does about a signal that was meant for the run as a whole.

A terminal's Ctrl-C and most schedulers' SIGTERM reach every process of a run at once. The training
process still needs its loaders then, to finish its batch; it ends them itself.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def outlive_first_signal(worker: int) -> None:  # noqa: ARG001 - torch's signature
    """Let the first SIGTERM and the first Ctrl-C pass; the next one ends this process."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _pass_once)


def _pass_once(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    signal.signal(signum, signal.SIG_DFL)
