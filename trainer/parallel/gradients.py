"""GradientMean: the mean of all processes' gradients, in place of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.nn import Parameter

CHUNK_BYTES = 25 * 2**20
"""What is sent at once, and so what it takes in memory; DDP's buckets are as large."""


class GradientMean:
    """Called when the gradients are whole. All its memory is taken when it is made."""

    def __init__(self, parameters: Iterable[Parameter], *, find_unused: bool = False) -> None:
        """`find_unused`: processes may differ in which parameters have a gradient."""
        self._parameters = [value for value in parameters if value.requires_grad]
        self._world_size = distributed.get_world_size()
        self._find_unused = find_unused
        parts = _chunks(self._parameters)
        room: dict[torch.dtype, Tensor] = {}
        for part in sorted(parts, key=_count, reverse=True):
            room.setdefault(part[0].dtype, part[0].new_empty(_count(part)))
        self._chunks = [_Chunk(part, room[part[0].dtype]) for part in parts]

    def __call__(self) -> None:
        if self._find_unused:
            self._complete()
        for chunk in self._chunks:
            chunk.average(self._world_size)

    def _complete(self) -> None:
        """Zeros where a gradient is missing here, but not in every process."""
        if not self._parameters:
            return
        has = torch.tensor([float(p.grad is not None) for p in self._parameters])
        distributed.all_reduce(has)
        for parameter, number in zip(self._parameters, has.tolist(), strict=True):
            if number and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


class _Chunk:
    """Parameters whose gradients travel together."""

    def __init__(self, parameters: Sequence[Parameter], room: Tensor) -> None:
        """`room` is shared with the chunks that come before and after."""
        self._parameters = parameters
        self._flat = room[: _count(parameters)]
        parts = torch.split(self._flat, [value.numel() for value in parameters])
        self._views = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]

    def average(self, world_size: int) -> None:
        pairs = [
            (view, parameter.grad)
            for view, parameter in zip(self._views, self._parameters, strict=True)
            if parameter.grad is not None
        ]
        if not pairs:
            return
        views, gradients = [view for view, _ in pairs], [gradient for _, gradient in pairs]
        torch._foreach_copy_(views, gradients)
        self._flat.div_(world_size)
        distributed.all_reduce(self._flat)
        torch._foreach_copy_(gradients, views)


def _chunks(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """In order; each of one type and, if it is more than one parameter, not above the limit."""
    chunks: list[list[Parameter]] = []
    size = 0
    for value in parameters:
        size += value.numel() * value.element_size()
        if not chunks or chunks[-1][0].dtype != value.dtype or size > CHUNK_BYTES:
            chunks.append([])
            size = value.numel() * value.element_size()
        chunks[-1].append(value)
    return chunks


def _count(parameters: Sequence[Parameter]) -> int:
    return sum(value.numel() for value in parameters)
