"""Bits: tensors of bfloat16, which numpy lacks, go through ONNX Runtime as arrays of uint16."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from bundle.tensor import BFLOAT16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.preprocessing.preprocessor import Array
    from bundle.tensor import TensorSpec

_ONNX_BFLOAT16 = 16
"""onnx.TensorProto.BFLOAT16; the bundle does without the package onnx."""


def run_on_bits(
    session: Any, inputs: dict[str, Array], *, specs: Sequence[TensorSpec], options: Any = None
) -> list[Array]:
    """All outputs of the session, which leaves them on the host. Raises whatever it raises."""
    values = {spec.name: _to_value(inputs[spec.name], spec) for spec in specs}
    outputs = [output.name for output in session.get_outputs()]
    return [_to_array(value) for value in session.run_with_ort_values(outputs, values, options)]


def _to_value(array: Array, spec: TensorSpec) -> Any:
    array = np.asarray(array, order="C")  # the value keeps the array, and uses its memory
    if spec.dtype == BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _to_array(value: Any) -> Array:
    if value.element_type() != _ONNX_BFLOAT16:
        return np.array(value.numpy())
    size = value.tensor_size_in_bytes()
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(bytearray(content), np.uint16).reshape(value.shape())
