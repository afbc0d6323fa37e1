"""A multi-layer perceptron over all pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trainer.errors import ConfigError
from trainer.models.normalize import Normalize

if TYPE_CHECKING:
    from collections.abc import Sequence


class MLP(nn.Module):
    """Fully connected layers with GELU and dropout between them."""

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int,
        height: int,
        width: int,
        hidden: Sequence[int] = (256, 128),
        dropout: float = 0.0,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        if any(size < 1 for size in hidden):
            raise ConfigError(f"model.hidden={list(hidden)}: widths must be at least 1")
        self.architecture: dict[str, Any] = {
            "num_classes": num_classes,
            "channels": channels,
            "height": height,
            "width": width,
            "hidden": list(hidden),
            "dropout": dropout,
            "mean": list(mean),
            "std": list(std),
        }
        self.normalize = Normalize(channels, mean=mean, std=std)
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [channels * height * width, *hidden]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) → logits (batch, num_classes)."""
        logits: Tensor = self.layers(self.normalize(image))  # (batch, num_classes)
        return logits
