"""Ones: inputs that most models answer, to see how a model behaves of which nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bundle.tensor import BFLOAT16, DYNAMIC, STRING, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bundle.preprocessing.preprocessor import Array

SIZES = (1, 32)
"""What to try for dynamic sizes, in order: networks of pictures may need more than one pixel."""


def ones(specs: Iterable[TensorSpec], *, size: int) -> dict[str, Array]:
    """`size` stands for every dynamic one. The strings are empty."""
    return {spec.name: _array(spec, size) for spec in specs}


def _array(spec: TensorSpec, size: int) -> Array:
    shape = [size if known == DYNAMIC else known for known in spec.shape]
    if spec.dtype == STRING:
        return np.full(shape, "", dtype=object)
    return np.ones(shape, dtype=np.uint16 if spec.dtype == BFLOAT16 else spec.dtype)
