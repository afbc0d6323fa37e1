"""Residual networks (https://arxiv.org/abs/1512.03385), with torchvision's parameter names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainer.errors import ConfigError
from trainer.models.normalize import Normalize
from trainer.models.pretrained import load_backbone

if TYPE_CHECKING:
    from collections.abc import Sequence


NARROWEST_CHANNELS_LAST = 16
"""Narrower networks gain nothing, and torch 2.13 on CPUs writes past the end of a buffer in the
backward pass of a strided channels-last convolution that reads 4 channels."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, width, kernel=3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, kernel=3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, width, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, h, w) → (batch, width, h / stride, w / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu(out + self.downsample(x))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is in the 3x3 one (v1.5)."""

    expansion = 4

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        after = width * self.expansion
        self.conv1 = _conv(before, width, kernel=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, kernel=3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, after, kernel=1)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, after, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, h, w) → (batch, 4 · width, h / stride, w / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(out + self.downsample(x))
        return result


class ResNet(nn.Module):
    """Stem, stages of residual blocks, mean over the image, linear classifier."""

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int,
        blocks: Sequence[int],
        widths: Sequence[int],
        bottleneck: bool = False,
        small_stem: bool = False,
        dropout: float = 0.0,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths) or not blocks or min(*blocks, *widths) < 1:
            raise ConfigError(
                f"model.blocks={list(blocks)} and model.widths={list(widths)}:"
                " need one positive number each for every stage",
                field="model.blocks",
            )
        self.architecture: dict[str, Any] = {
            "num_classes": num_classes,
            "channels": channels,
            "blocks": list(blocks),
            "widths": list(widths),
            "bottleneck": bottleneck,
            "small_stem": small_stem,
            "dropout": dropout,
            "mean": list(mean),
            "std": list(std),
        }
        block = Bottleneck if bottleneck else BasicBlock
        self.normalize = Normalize(channels, mean=mean, std=std)
        self.conv1 = (
            _conv(channels, widths[0], kernel=3)
            if small_stem
            else _conv(channels, widths[0], kernel=7, stride=2)
        )
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(3, stride=2, padding=1)
        before = widths[0]
        self.stages = len(blocks)
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            layers: list[nn.Module] = []
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                layers.append(block(before, width, stride=stride))
                before = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if min(widths) >= NARROWEST_CHANNELS_LAST:
            # A fifth faster on CPUs, and what tensor cores want; the numbers stay the same.
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if pretrained is not None:
            load_backbone(self, Path(pretrained), head="fc.")

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) → logits (batch, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(image)))))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        features = x.mean(dim=(2, 3))  # (batch, widths[-1] · expansion)
        logits: Tensor = self.fc(self.dropout(features))  # (batch, num_classes)
        return logits


def _conv(before: int, after: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)


def _shortcut(before: int, after: int, *, stride: int) -> nn.Module:
    if stride == 1 and before == after:
        return nn.Identity()
    return nn.Sequential(_conv(before, after, kernel=1, stride=stride), nn.BatchNorm2d(after))
