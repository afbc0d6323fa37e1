"""Inputs: values that a caller sends become the arrays that a model takes, or a clear refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.bfloat16 import is_finite
from bundle.errors import InputError
from bundle.finite import all_finite
from bundle.tensor import BFLOAT16, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.preprocessing.preprocessor import Array


def as_array(value: Any, spec: TensorSpec) -> Array:
    """The value with the spec's element type, wherever that loses nothing.

    An array keeps its values exactly or is refused. In a Python list, whose numbers have no element
    type, floating-point numbers are rounded to the nearest that the tensor can hold, as JSON needs.
    numpy has no bfloat16: its arrays are those of its bits, uint16, and nothing else is taken.
    Shapes are not looked at. Raises InputError, naming the tensor.
    """
    if spec.dtype == "string":
        return _as_strings(value, spec)
    if spec.dtype == BFLOAT16:
        return _as_bits(value, spec)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise input_error(spec, f"is not an array: {error}") from error
    expected = np.dtype(spec.dtype)
    if array.dtype == expected:
        return array
    typed = isinstance(value, (np.ndarray, np.generic))
    if not typed and array.size == 0:  # an empty list is one of every type
        return array.astype(expected)
    if not typed and array.dtype.kind in "fO" and expected.kind in "iu":
        array = _as_integers(value, array)
    converted = _convert(array, expected, rounds=not typed)
    if converted is None:
        got = "mixed or ragged values" if array.dtype == object else f"dtype {array.dtype}"
        raise input_error(
            spec,
            f"has {got}, expected {expected}, and not every value converts exactly",
            remedy=f"send {expected} values",
        )
    return converted


def check_tensors(inputs: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Arrays of the specs' names, element types and shapes, in their order. Raises InputError."""
    known = [spec.name for spec in specs]
    for name in inputs:
        if name not in known:
            raise InputError(
                f"inputs.{name} is unknown",
                field=f"inputs.{name}",
                remedy=f"the model takes {', '.join(known)}",
            )
    arrays = {}
    for spec in specs:
        if spec.name not in inputs:
            raise input_error(spec, f"is missing; the model takes {', '.join(known)}")
        array = as_array(inputs[spec.name], spec)
        _check_shape(spec, array.shape)
        if not _finite(array, spec):
            raise input_error(spec, "has NaN or infinite values")
        arrays[spec.name] = array
    return arrays


def check_batch(inputs: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """As `check_tensors`; the first dimension of every tensor is one batch of at least one."""
    arrays = check_tensors(inputs, specs)
    sizes = {name: len(array) for name, array in arrays.items()}
    first, *others = specs
    for spec in others:
        if sizes[spec.name] != sizes[first.name]:
            raise input_error(
                spec,
                f"has batch size {sizes[spec.name]}, but inputs.{first.name} "
                f"has {sizes[first.name]}",
            )
    if sizes[first.name] == 0:
        raise input_error(first, "is an empty batch", remedy="send at least one sample")
    return arrays


def input_error(spec: TensorSpec, message: str, *, remedy: str | None = None) -> InputError:
    field = f"inputs.{spec.name}"
    return InputError(f"{field} {message}", field=field, remedy=remedy)


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if not spec.takes(shape):
        raise input_error(
            spec, f"has shape {list(shape)}, expected {list(spec.shape)} (-1: any size)"
        )


def _as_strings(value: Any, spec: TensorSpec) -> Array:
    try:
        array = np.asarray(value, dtype=object)
    except ValueError as error:
        raise input_error(spec, f"is not an array: {error}") from error
    if any(not isinstance(item, str) for item in array.flat):
        raise input_error(spec, "has values that are not strings")
    return array


def _as_bits(value: Any, spec: TensorSpec) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint16:
        raise input_error(
            spec,
            "has dtype bfloat16, which is taken as its bits only",
            remedy="pass a numpy array of uint16, the upper halves of the float32 values",
        )
    return value


def _finite(array: Array, spec: TensorSpec) -> bool:
    if spec.dtype == BFLOAT16:
        return bool(is_finite(array).all())
    return all_finite(array)


def _as_integers(value: Any, array: Array) -> Array:
    """A list of integers that numpy made floating-point, to hold the largest uint64 beside others.

    Anything else stays the array that it was.
    """
    numbers = np.asarray(value, dtype=object)
    if any(type(number) is not int or not 0 <= number < 2**64 for number in numbers.flat):
        return array
    return numbers.astype(np.uint64)


def _convert(array: Array, expected: np.dtype[Any], *, rounds: bool) -> Array | None:
    """The array as `expected`, or None where that would change a value."""
    if array.dtype.kind not in "iuf" or expected.kind not in "iuf":
        return None
    if array.dtype.kind == "f" and expected.kind != "f":
        return None
    if expected.kind != "f":
        limits = np.iinfo(expected)
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        return array.astype(expected) if limits.min <= low and high <= limits.max else None
    with np.errstate(all="ignore"):  # an overflow is found by comparing, not by a warning
        converted = array.astype(expected)
    if rounds and array.dtype.kind == "f":
        kept = bool(np.array_equal(np.isfinite(converted), np.isfinite(array)))
    else:
        kept = _equal(converted, array)
    return converted if kept else None


def _equal(converted: Array, array: Array) -> bool:
    """Whether the floating-point values are exactly those of the array."""
    if array.dtype.kind == "f":
        wide = np.promote_types(converted.dtype, array.dtype)
        return bool(np.array_equal(converted.astype(wide), array.astype(wide), equal_nan=True))
    if not all_finite(converted):
        return False
    exact = 2 ** (np.finfo(converted.dtype).nmant + 1)  # up to here every integer has its float
    if not array.size or (-exact <= int(array.min()) and int(array.max()) <= exact):
        return True
    # Compared as Python's integers: the way back through a fixed width could overflow.
    return all(int(new) == int(old) for new, old in zip(converted.flat, array.flat, strict=True))
