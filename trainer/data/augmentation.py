"""Random changes to training samples, each a function of (seed, epoch, sample) and nothing else.

They stand between DataPreprocessor and the model: images are changed as uint8 (B, C, H, W) at the
model's size, where a preprocessed image would pass through DataPreprocessor unchanged; texts are
changed as token ids before they are padded. So preprocessing is done once, and what leaves here is
still something that serving could have sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.noise import uniforms
from trainer.data.options import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.data.samples import IntArray

_IMAGE_STREAM = 1
_TOKEN_STREAM = 2
_NUMBERS = 10  # random numbers an image may use


@dataclass(frozen=True, kw_only=True)
class ImageAugmentation:
    """Shift, rotate, zoom, mirror, then erase. See ImageAugmentationConfig for the units."""

    shift: int = 0
    rotate: float = 0.0
    zoom: float = 0.0
    flip: float = 0.0
    erase: float = 0.0
    erase_size: float = 0.25
    fill: int = 0

    def check(self) -> None:
        """Raises DataError, naming the field."""
        for name in ("shift", "rotate"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name}", value, "0 or more")
        require(0 <= self.zoom < 1, "augmentation.zoom", self.zoom, "from 0 to less than 1")
        for name in ("flip", "erase", "erase_size"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augmentation.{name}", value, "from 0 to 1")
        require(0 <= self.fill <= 255, "augmentation.fill", self.fill, "from 0 to 255")

    @property
    def active(self) -> bool:
        return any((self.shift, self.rotate, self.zoom, self.flip, self.erase))

    def __call__(self, images: Tensor, *, seed: int, epoch: int, indices: IntArray) -> Tensor:
        """Changed copies of uint8 (B, C, H, W); `indices` (B,) say which samples they are."""
        if not self.active:
            return images
        numbers = uniforms(seed, epoch, indices, count=_NUMBERS, stream=_IMAGE_STREAM)
        if self.shift or self.rotate or self.zoom or self.flip:
            images = self._move(images, numbers)
        if self.erase:
            images = self._erase(images, numbers)
        return images

    def _move(self, images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """Look every pixel of the result up where it came from."""
        height, width = images.shape[-2:]
        rows, columns = self._sources(numbers, height=height, width=width)
        # grid_sample counts from -1 to 1 between the image's outer edges.
        grid = torch.stack(((columns * 2 + 1) / width - 1, (rows * 2 + 1) / height - 1), dim=-1)
        pixels = images.float()  # (B, C, H, W)
        if self.fill:
            pixels -= self.fill  # outside is 0 for grid_sample
        moved = functional.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
        if self.fill:
            moved += self.fill
        return moved.add_(0.5).clamp_(0, 255).to(torch.uint8)

    def _sources(
        self, numbers: NDArray[np.float64], *, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Row and column, in pixels, where each pixel comes from: two of (B, H, W)."""
        steps = 2 * self.shift + 1
        down = np.floor(numbers[:, 0] * steps) - self.shift
        right = np.floor(numbers[:, 1] * steps) - self.shift
        angles = (numbers[:, 2] * 2 - 1) * math.radians(self.rotate)
        scales = 1 + (numbers[:, 3] * 2 - 1) * self.zoom
        # One by one: a vectorised cosine may differ in its last bit with the place in the vector.
        cosines = np.array([math.cos(angle) for angle in angles.tolist()]) / scales
        sines = np.array([math.sin(angle) for angle in angles.tolist()]) / scales
        mirror = np.where(numbers[:, 4] < self.flip, -1.0, 1.0)
        row_from_row, row_from_column = _column(cosines), _column(-sines * mirror)
        column_from_row, column_from_column = _column(sines), _column(cosines * mirror)
        middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
        y = torch.arange(height, dtype=torch.float32) - middle_row  # (H,)
        x = torch.arange(width, dtype=torch.float32) - middle_column  # (W,)
        y, x = y - _column(down), x - _column(right)  # (B, H), (B, W)
        rows = (y * row_from_row)[:, :, None] + (x * row_from_column + middle_row)[:, None, :]
        columns = (y * column_from_row)[:, :, None] + (x * column_from_column + middle_column)[
            :, None, :
        ]
        return rows, columns

    def _erase(self, images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        height, width = images.shape[-2:]
        tall = 1 + np.floor(numbers[:, 6] * self.erase_size * height)
        wide = 1 + np.floor(numbers[:, 7] * self.erase_size * width)
        tall[numbers[:, 5] >= self.erase] = 0
        top = np.floor(numbers[:, 8] * (height - tall + 1))
        left = np.floor(numbers[:, 9] * (width - wide + 1))
        inside_rows = _between(height, top, tall)  # (B, H)
        inside_columns = _between(width, left, wide)  # (B, W)
        inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
        return images.masked_fill(inside, 0)


@dataclass(frozen=True, kw_only=True)
class TextAugmentation:
    """Replace tokens by the mask token."""

    token_dropout: float = 0.0

    def check(self) -> None:
        """Raises DataError, naming the field."""
        value = self.token_dropout
        require(0 <= value <= 1, "augmentation.token_dropout", value, "from 0 to 1")

    @property
    def active(self) -> bool:
        return self.token_dropout > 0

    def __call__(
        self,
        rows: Sequence[IntArray],
        *,
        mask_id: int,
        protected: IntArray,
        seed: int,
        epoch: int,
        indices: IntArray,
    ) -> list[IntArray]:
        """Changed copies of token ids, each (L,); ids in `protected` stay."""
        if not self.active:
            return list(rows)
        longest = max(len(row) for row in rows)
        numbers = uniforms(seed, epoch, indices, count=longest, stream=_TOKEN_STREAM)
        return [
            np.where(
                (number[: len(row)] < self.token_dropout) & ~np.isin(row, protected), mask_id, row
            )
            for row, number in zip(rows, numbers, strict=True)
        ]


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]  # (B, 1)


def _between(size: int, start: NDArray[np.float64], length: NDArray[np.float64]) -> Tensor:
    place = np.arange(size)
    start, length = start[:, np.newaxis], length[:, np.newaxis]
    return torch.from_numpy((place >= start) & (place < start + length))  # (B, size)
