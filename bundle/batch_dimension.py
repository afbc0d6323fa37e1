"""BatchDimension: whether the first dimension of a graph's tensors is a batch, or only looks so.

A dynamic first dimension may be one of samples that have nothing to do with each other, which can
come from several requests. It may as well count the pictures beside the texts that each of them is
compared with, the nodes of one network, or what was found in one picture.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchDimension:
    """Whether requests may share a run."""

    shared: bool
    reason: str = ""
    """Why not, or why that is not certain."""
