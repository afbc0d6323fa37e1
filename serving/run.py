"""Run: what a part of a request had of its batch."""

from __future__ import annotations

from typing import NamedTuple


class Run(NamedTuple):
    """What one part of a request had of the batch that it ran in."""

    seconds: float
    """That the whole batch took."""
    samples: int = 1
    """In the whole batch."""
    tokens: int = 1
    """Of its longest sample, to which the others were padded."""
    share: float = 1.0
    """Of the batch: its parts whose version a split may have chosen have one together."""
    failed: bool = False
    """Whether there is no answer to this part."""
    shared: bool = False
    """Whether others ran beside the batch, so that it took longer."""
