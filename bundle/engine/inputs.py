"""Inputs: values that a caller sends become the arrays that a model takes, or a clear refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.errors import InputError
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.preprocessing.preprocessor import Array


def as_array(value: Any, spec: TensorSpec) -> Array:
    """The value with the spec's element type, wherever that loses nothing.

    An array keeps its values exactly or is refused. In a Python list, whose numbers have no element
    type, floating-point numbers are rounded to the nearest that the tensor can hold, as JSON needs.
    Shapes are not looked at. Raises InputError, naming the tensor.
    """
    if spec.dtype == "string":
        return _as_strings(value, spec)
    if spec.dtype == "bfloat16":
        raise _error(spec, "has dtype bfloat16, which is not accepted here")
    rounds = not isinstance(value, (np.ndarray, np.generic))
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(spec, f"is not an array: {error}") from error
    expected = np.dtype(spec.dtype)
    if array.dtype == expected:
        return array
    if rounds and array.size == 0 and array.dtype == np.float64:  # an empty list has no type
        return array.astype(expected)
    converted = _convert(array, expected, rounds=rounds)
    if converted is None:
        got = "mixed or ragged values" if array.dtype == object else f"dtype {array.dtype}"
        raise _error(
            spec,
            f"has {got}, expected {expected}, and not every value converts exactly",
            remedy=f"send {expected} values",
        )
    return converted


def check_batch(inputs: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """One batch, batch dimension in front, in the specs' order. Raises InputError.

    `specs` have the batch dimension, whose size -1 every input must share.
    """
    arrays = _by_spec(inputs, specs)
    sizes: dict[str, int] = {}
    for spec in specs:
        array = arrays[spec.name]
        _check_shape(spec, array.shape)
        sizes[spec.name] = array.shape[0]
    first, *others = specs
    for spec in others:
        if sizes[spec.name] != sizes[first.name]:
            raise _error(
                spec,
                f"has batch size {sizes[spec.name]}, but {first.name!r} has {sizes[first.name]}",
            )
    if sizes[first.name] == 0:
        raise _error(first, "is an empty batch", remedy="send at least one sample")
    return arrays


def _by_spec(inputs: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    known = [spec.name for spec in specs]
    for name in inputs:
        if name not in known:
            raise InputError(
                f"inputs has an unknown tensor {name!r}",
                field=str(name),
                remedy=f"the model takes {', '.join(known)}",
            )
    arrays = {}
    for spec in specs:
        if spec.name not in inputs:
            raise _error(spec, f"is missing; the model takes {', '.join(known)}")
        array = as_array(inputs[spec.name], spec)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _error(spec, "has NaN or infinite values")
        arrays[spec.name] = array
    return arrays


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    fits = len(shape) == len(spec.shape) and all(
        size in (DYNAMIC, actual) for size, actual in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise _error(spec, f"has shape {list(shape)}, expected {list(spec.shape)} (-1: any size)")


def _as_strings(value: Any, spec: TensorSpec) -> Array:
    array = np.asarray(value, dtype=object)
    if any(type(item) not in (str, np.str_) for item in array.flat):
        raise _error(spec, "has values that are not strings")
    return array


def _convert(array: Array, expected: np.dtype[Any], *, rounds: bool) -> Array | None:
    """The array as `expected`, or None where that would change a value."""
    if array.dtype.kind not in "iuf" or expected.kind not in "iuf":
        return None
    if array.dtype.kind == "f" and expected.kind != "f":
        return None
    with np.errstate(all="ignore"):
        converted = array.astype(expected)
        if array.dtype.kind == "f" and expected.kind == "f" and rounds:
            kept = bool((np.isfinite(converted) == np.isfinite(array)).all())
        elif expected.kind == "f":
            kept = _equal(converted, array)
        else:
            limits = np.iinfo(expected)
            low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
            kept = limits.min <= low and high <= limits.max
    return converted if kept else None


def _equal(converted: Array, array: Array) -> bool:
    """Whether the floating-point values are exactly those of the array."""
    if array.dtype.kind == "f":
        wide = np.promote_types(converted.dtype, array.dtype)
        return bool(np.array_equal(converted.astype(wide), array.astype(wide), equal_nan=True))
    if not np.isfinite(converted).all():
        return False
    # Integers are compared as integers: float64 would round both sides alike.
    return all(int(a) == int(b) for a, b in zip(converted.flat, array.flat, strict=True))


def _error(spec: TensorSpec, message: str, *, remedy: str | None = None) -> InputError:
    return InputError(f"inputs.{spec.name} {message}", field=spec.name, remedy=remedy)
