"""Nested JSON lists become the arrays that a model takes, without changing a value in silence."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.finite import all_finite
from bundle.tensor import BFLOAT16, DYNAMIC, STRING, TensorSpec, fits

FEW = 32
"""Numbers of a list that are looked at one by one."""
_LARGEST = {name: float(np.finfo(name).max) for name in ("float16", "float32", "float64")}
_LEAVES = {
    STRING: frozenset({str}),
    "bool": frozenset({bool}),
    BFLOAT16: frozenset[type](),
    **dict.fromkeys(_LARGEST, frozenset({int, float})),
}
"""What the values of a tensor of that element type may be in JSON, where that is not integers."""
_INTEGER = frozenset({int})
_NUMBER = "a number"
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: _NUMBER,
    str: "a string",
    dict: "an object",
    type(None): "null",
}


def row_shape(spec: TensorSpec, *, batchable: bool) -> tuple[int, ...]:
    """The shape of one sample; the tensors of a model that is not batchable are one sample."""
    return spec.shape[1:] if batchable else spec.shape


def to_array(value: object, spec: TensorSpec, *, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """`shape` is that of one sample, -1 where any size will do. Raises InputError.

    Integers are taken where floating-point numbers are expected, and rounded to the nearest as
    decimals are; nothing else is converted.
    """
    types, found = _scan(value, spec)
    if found != shape and not fits(found, shape, unranked=spec.unranked):
        raise _error(
            spec,
            f"has shape {list(found)}, expected {list(shape)}"
            + (" (-1: any size)" if DYNAMIC in shape else ""),
            remedy="send one sample, without batch dimension; /predict/batch takes several",
        )
    if 0 in found:
        raise _error(spec, "is empty", remedy="send at least one value along every dimension")
    return _typed(value, types, spec)


def flat_array(value: object, spec: TensorSpec, *, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The values of a tensor of that shape, row-major, from lists nested like it or from one list.

    Raises InputError where their number, nesting or types are others.
    """
    types, found = _scan(value, spec)
    if found not in (shape, (math.prod(shape),)):
        raise _error(spec, f"has data of shape {list(found)}, but its shape is {list(shape)}")
    return _typed(value, types, spec).reshape(-1)


def _typed(value: object, types: set[type], spec: TensorSpec) -> npt.NDArray[Any]:
    """Checked leaves of the given types as an array of the spec's."""
    allowed = _LEAVES.get(spec.dtype, _INTEGER)
    if not types <= allowed:
        raise _wrong_types(types - allowed, spec)
    largest = _LARGEST.get(spec.dtype)
    if largest is not None:
        return _floats(value, spec, largest)
    if spec.dtype == STRING:
        return np.array(value, dtype=object)
    return _integers(value, spec)


def _scan(value: object, spec: TensorSpec) -> tuple[set[type], tuple[int, ...]]:
    """The types of the leaves, and the shape. Raises InputError if the lists are ragged."""
    if not isinstance(value, list):
        return {type(value)}, ()
    types = set(map(type, value))
    if list not in types:
        return types, (len(value),)
    if types != {list}:
        raise _error(spec, "is ragged: a list has lists and other values side by side")
    leaves: set[type] = set()
    shapes: set[tuple[int, ...]] = set()
    for item in value:
        found, shape = _scan(item, spec)
        leaves |= found
        shapes.add(shape)
    if len(shapes) > 1:
        raise _error(spec, "is ragged: its lists have different lengths")
    return leaves, (len(value), *shapes.pop())


def _wrong_types(wrong: set[type], spec: TensorSpec) -> InputError:
    if spec.dtype == BFLOAT16:
        return _error(spec, "has dtype bfloat16, which JSON has no form for")
    names = ", ".join(sorted(_KINDS.get(kind, kind.__name__) for kind in wrong))
    return _error(spec, f"holds {names}, expected {spec.dtype} values")


def _is_short(value: object) -> TypeGuard[list[float]]:
    """Whether it is a list of numbers, and so few that Python looks at them sooner than numpy."""
    return isinstance(value, list) and 0 < len(value) <= FEW and not isinstance(value[0], list)


def _floats(value: object, spec: TensorSpec, largest: float) -> npt.NDArray[Any]:
    if _is_short(value) and -largest <= min(value) and max(value) <= largest:
        return np.array(value, spec.dtype)
    wide = np.array(value, dtype=np.float64)
    if not np.count_nonzero(np.abs(wide) > largest):
        return wide.astype(spec.dtype)
    with np.errstate(over="ignore"):
        array = wide.astype(spec.dtype)
    if not all_finite(array):
        raise _error(spec, f"has a value that is too large for {spec.dtype}")
    return array


def _integers(value: object, spec: TensorSpec) -> npt.NDArray[Any]:
    """Integers or booleans, as the types have been checked to be."""
    try:
        return np.array(value, dtype=spec.dtype)
    except OverflowError as error:
        limits = np.iinfo(spec.dtype)
        raise _error(
            spec, f"has a value out of the range of {spec.dtype}, {limits.min} to {limits.max}"
        ) from error


def _error(spec: TensorSpec, message: str, *, remedy: str | None = None) -> InputError:
    field = f"inputs.{spec.name}"
    return InputError(f"{field} {message}", field=field, remedy=remedy)
