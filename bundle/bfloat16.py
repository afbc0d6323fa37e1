"""bfloat16, which numpy lacks: an array of it is the uint16 array of its bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.tensor import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.tensor import TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]

_EXPONENT = np.uint16(0x7F80)
"""Of NaN and the infinities all of these bits are set."""


def is_finite(bits: Array) -> Array:
    """Element by element."""
    finite: Array = (bits & _EXPONENT) != _EXPONENT
    return finite


def to_float32(bits: Array) -> Array:
    """The same numbers: a bfloat16 is the upper half of a float32."""
    wide: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return wide


def as_numbers(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays by name, those of bfloat16 as float32."""
    found = dict(arrays)
    for spec in specs:
        if spec.dtype == BFLOAT16 and (bits := found.get(spec.name)) is not None:
            found[spec.name] = to_float32(bits) if bits.dtype == np.uint16 else bits
    return found
