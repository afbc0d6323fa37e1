"""Lap: what one process measured while it had its turn, as it goes from process to process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lap:
    """What one process measured between two of its steps."""

    steps: int
    seconds: float
    cpu_seconds: float
    """Of all threads of the process, also while it waited for this lap; other processes' load does
    not add to it."""
    threads: int
    """torch's, inside the loop."""
    load: float
    """Of the machine: running processes, averaged over the last minute."""
    weights: int
    """That the optimiser moves."""
