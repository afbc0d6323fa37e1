"""Ones: inputs that most models answer, to see how a model behaves of which nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.tensor import BFLOAT16, DYNAMIC, STRING, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bundle.preprocessing.preprocessor import Array

SIZES = (1, 32)
"""What to try for dynamic sizes, in order: networks of pictures may need more than one pixel."""

_BFLOAT16_ONE = 0x3F80
"""Its bits."""
_REAL = ("float16", "float32", "float64", BFLOAT16)


def ones(specs: Iterable[TensorSpec], *, size: int) -> dict[str, Array]:
    """`size` stands for every dynamic one. The strings are empty."""
    return {spec.name: _array(spec, size, varied=False) for spec in specs}


def zeros_and_ones(
    specs: Iterable[TensorSpec], *, size: int, whole: bool = True
) -> dict[str, Array]:
    """By turns, so that a layer that normalizes does not make them the same as ones, and integers
    are such as number words. `whole`: whether others than floating-point numbers change too.
    """
    return {spec.name: _array(spec, size, varied=whole or spec.dtype in _REAL) for spec in specs}


def _array(spec: TensorSpec, size: int, *, varied: bool) -> Array:
    shape = [size if known == DYNAMIC else known for known in spec.shape]
    zero, one, dtype = _values(spec.dtype)
    filled: Array = np.resize(np.array([zero, one] if varied else [one], dtype=dtype), shape)
    return filled


def _values(dtype: str) -> tuple[Any, Any, Any]:
    """What stands for 0 and for 1, and the element type of their array."""
    if dtype == STRING:
        return "a", "", object
    if dtype == BFLOAT16:
        return 0, _BFLOAT16_ONE, np.uint16
    return 0, 1, dtype
