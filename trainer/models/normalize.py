"""The first layer of every image model: uint8 pixels become normalised floats, inside the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Normalize(nn.Module):
    """(pixel / 255 - mean) / std, one mean and std a channel."""

    scale: Tensor
    offset: Tensor

    def __init__(self, channels: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        means = _per_channel("model.mean", mean, channels)
        deviations = _per_channel("model.std", std, channels)
        if not bool((deviations > 0).all()):
            raise ConfigError(f"model.std={list(std)}: must be positive", field="model.std")
        self.register_buffer("scale", (1 / (255 * deviations)).view(1, -1, 1, 1))
        self.register_buffer("offset", (-means / deviations).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) → float32 of the same shape."""
        return image.float() * self.scale + self.offset


def _per_channel(field: str, values: Sequence[float], channels: int) -> Tensor:
    """One value counts for every channel; three become their mean for a grey image."""
    if len(values) == channels:
        return torch.tensor(list(values))
    if len(values) == 1:
        return torch.tensor(list(values) * channels)
    if channels == 1:
        return torch.tensor([sum(values) / len(values)])
    raise ConfigError(
        f"{field}={list(values)}: {len(values)} values for {channels} channels", field=field
    )
