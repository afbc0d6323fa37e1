"""int8 weights: symmetric, with one scale a row or a column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optimize.reference import Array

_SMALLEST = np.finfo(np.float32).tiny


def quantize_weight(weight: Array, *, axis: int, bits: int = 8) -> tuple[Array, Array]:
    """float32 (rows, columns) → int8 of the same shape, and the float32 scales along `axis`.

    `axis` is the one that keeps its own scales: 0 gives (rows,), 1 gives (columns,). Values lie
    within ±(2 ** (bits - 1) - 1), so that zero is exact.
    """
    largest = 2 ** (bits - 1) - 1
    other = 1 - axis
    scales = np.maximum(np.abs(weight).max(axis=other), _SMALLEST).astype(np.float32) / largest
    scales = np.maximum(scales, _SMALLEST).astype(np.float32)
    rounded = np.rint(weight / np.expand_dims(scales, other))
    return np.clip(rounded, -largest, largest).astype(np.int8), scales
