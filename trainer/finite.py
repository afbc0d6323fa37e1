"""Whether the weights are numbers still: others must never replace a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from trainer.parallel.group import is_joined

if TYPE_CHECKING:
    from torch import Tensor, nn


def all_finite(model: nn.Module) -> bool:
    """Whether every parameter is finite, in all processes, which all call this.

    It reads each parameter once, on its device.
    """
    parts = [_local(parameter.detach()) for parameter in model.parameters()]
    parts = [part for part in parts if part.numel() and part.is_floating_point()]
    largest = get_total_norm(parts, norm_type=torch.inf)  # NaN if there is one
    finite = torch.isfinite(largest).to(torch.int32)
    if is_joined():
        distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
    return bool(finite.item())


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
