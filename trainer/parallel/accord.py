"""Accord: how processes that compute a batch together learn that one of them could not."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


class AbandonedError(Exception):
    """Another process gave the batch up."""


class Accord:
    """One process alone, which agrees with itself. `GroupAccord` is that of several."""

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """Called before the first batch."""

    def vote(self, *, failed: bool) -> bool:
        """Whether the batch failed in any process."""
        return failed


class GroupAccord(Accord):
    """Every message of a batch has the same length and ends with a mark.

    A process that fails sends one marked message, and no other. Whatever the rest wait for in that
    moment, in forward, in backward or with the batch done, is this message: nobody waits for ever,
    and nobody is a message ahead.
    """

    def __init__(self, width: int = 0) -> None:
        """`width`: the longest vector that `sum` is given."""
        self._width = width
        self._message = torch.zeros(width + 1)

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """`device` and `dtype` of what `sum` is given.

        If it is given nothing, messages stay on the CPU: reading one waits for no GPU.
        """
        if self._width:
            self._message = torch.zeros(self._width + 1, device=device, dtype=dtype)

    def sum(self, value: Tensor) -> Tensor:
        """Over all processes, of a vector (n,). Raises AbandonedError."""
        size = len(value)
        message = torch.zeros_like(self._message)
        message[:size] = value
        distributed.all_reduce(message)
        if bool(message[-1]):
            raise AbandonedError
        return message[:size]

    def vote(self, *, failed: bool) -> bool:
        self._message.zero_()
        self._message[-1] = float(failed)
        distributed.all_reduce(self._message)
        return bool(self._message[-1])
