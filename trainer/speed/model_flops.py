"""How many floating point operations a model takes for one sample, forward and backward."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.data.samples import LABEL
from trainer.speed.throughput import TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping


class ModelFlops:
    """A copy of the model without its weights, to count on.

    The count neither draws random numbers nor touches the model's weights, gradients and
    statistics; it waits for no other process; and the copy, made before the model is sharded, is
    whole.
    """

    def __init__(self, model: nn.Module) -> None:
        shells: dict[int, object] = {
            id(weight): nn.Parameter(
                torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad
            )
            for weight in model.parameters()
        }
        # What only training does is no matrix product: dropout, statistics and their exchange.
        self._model = copy.deepcopy(model, shells).eval()

    def count(self, batch: Mapping[str, Tensor]) -> float:
        """Of one sample or, of a text, one token: of the first batch, to which others are alike.

        Multiplications and additions count as two; what is not a matrix product or a convolution
        counts as none, as is usual.
        """
        inputs = {name: value[:1].detach().cpu() for name, value in batch.items() if name != LABEL}
        with torch.enable_grad():
            _fill(self._model)
            with FlopCounterMode(display=False) as counter:
                # Not through __call__, which would compile a model that is to be compiled.
                self._model.forward(**inputs).float().sum().backward()
        tokens = inputs.get(TOKENS)
        return float(counter.get_total_flops()) / (1 if tokens is None else tokens.numel())


def _fill(model: nn.Module) -> None:
    """Zeros for weights: the count does not depend on them, and memory that is only read as
    zeros takes no room.
    """
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            filled = torch.zeros(weight.shape, dtype=weight.dtype)
            setattr(module, name, nn.Parameter(filled, requires_grad=weight.requires_grad))
