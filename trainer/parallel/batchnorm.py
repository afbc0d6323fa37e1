"""Batch normalisation over the batch of all processes together, on the CPU as on a GPU."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn

from trainer.parallel.accord import GroupAccord


class SyncBatchNorm(nn.BatchNorm2d):
    """A BatchNorm2d whose statistics in training are those of the whole batch.

    torch's own has no CPU form. All processes must have equally many samples, as EpochSampler and
    StandIns see to. Same parameters and buffers, so the same checkpoint.
    """

    accord: GroupAccord | None = None
    """What sums over processes, where one of them may give a batch up."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(B, C, H, W) → the same shape."""
        if not self.training:
            return super().forward(input)
        values = input if input.dtype == torch.float64 else input.float()
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = self._sum(values.sum((0, 2, 3))) / count  # (C,)
        centred = values - mean[:, None, None]
        variance = self._sum(centred.square().sum((0, 2, 3))) / count  # (C,)
        self._remember(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _sum(self, value: Tensor) -> Tensor:
        total: Tensor = _AllReduce.apply(value, self.accord)  # type: ignore[no-untyped-call]
        return total

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.num_batches_tracked is None or self.running_mean is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        if self.running_var is not None:
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), share)


def synchronize_batchnorm(module: nn.Module) -> None:
    """Turn every BatchNorm2d in `module` into one that spans all processes, in place."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d and part.affine:
            part.__class__ = SyncBatchNorm


def make_accord(module: nn.Module) -> GroupAccord:
    """How processes agree about a batch, those that wait in the middle of `module` included."""
    parts = [part for part in module.modules() if isinstance(part, SyncBatchNorm)]
    accord = GroupAccord(max((part.num_features for part in parts), default=0))
    for part in parts:
        part.accord = accord
    return accord


class EqualBuffers(pl.Callback):
    """Where statistics are each process's own, the main one's are used to validate and test."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        _broadcast_buffers(pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        _broadcast_buffers(pl_module)


def _broadcast_buffers(module: nn.Module) -> None:
    for buffer in module.buffers():
        distributed.broadcast(buffer, src=0)


class _AllReduce(torch.autograd.Function):
    """A sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, accord: GroupAccord | None) -> Tensor:
        ctx.accord = accord
        return _total(value, accord)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _total(gradient, ctx.accord), None


def _total(value: Tensor, accord: GroupAccord | None) -> Tensor:
    if accord is not None:
        return accord.sum(value)
    total = value.contiguous().clone()
    distributed.all_reduce(total)
    return total
