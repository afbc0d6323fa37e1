"""What every loop trains: the models and the digits of the config, made without it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from benchmarks.loops.request import BATCH, WARMUP
from trainer.data.sources.mnist import MnistSource
from trainer.models.mlp import MLP
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from torch.optim import Optimizer


class Digits(Dataset[tuple[Tensor, int]]):
    """5,000 digits in memory, one at a time: a uint8 image (1, 28, 28) and its class."""

    def __init__(self) -> None:
        corpus = MnistSource().load()
        self._images = torch.stack([torch.as_tensor(image)[None] for image in corpus.raw])
        self._labels = corpus.labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], self._labels[index]


def make_loader() -> DataLoader[tuple[Tensor, int]]:
    """Shuffled batches, by torch's own collation."""
    return DataLoader(Digits(), batch_size=BATCH, shuffle=True, drop_last=True)


def make_model(name: str) -> nn.Module:
    """What `model=<name>` in `conf/` makes for these digits."""
    if name == "mlp":
        return MLP(num_classes=10, channels=1, height=28, width=28, hidden=(256, 128), dropout=0.1)
    return ResNet(
        num_classes=10, channels=1, blocks=(1, 1, 1), widths=(16, 32, 64), small_stem=True
    )


def make_schedule(optimizer: Optimizer, *, steps: int) -> LambdaLR:
    """Up from 0, then down along a cosine."""
    warm = round(WARMUP * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / (steps - warm))))

    return LambdaLR(optimizer, factor)
