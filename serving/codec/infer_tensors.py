"""The tensors of an Open Inference Protocol request, held against what the model takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.quotation import shorten
from serving.codec.datatype import DATATYPES, storage, unpack_strings
from serving.codec.infer_request import check_fields
from serving.codec.request import shown
from serving.codec.tensors import flat_array
from serving.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.tensor import TensorSpec
    from serving.codec.infer_request import InferRequest
    from serving.wire import Array

_MOST_DIMENSIONS = 32
_MOST_ELEMENTS = 2**40
"""More than any body holds: a product above it has overflowed, or is meant to."""


def read_tensors(request: InferRequest, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The arrays by name, in the order of `specs`, in the shapes that the request gives them.

    Raises BadRequestError where a tensor is not what the model takes.
    """
    known = {spec.name: spec for spec in specs}
    arrays = {}
    for entry, binary in zip(request.inputs, request.binaries, strict=True):
        name = entry["name"]
        if name not in known:
            raise BadRequestError.of_field(
                f"inputs.{shorten(name)}", "is unknown", remedy=f"the model takes {_list(known)}"
            )
        arrays[name] = _read_tensor(entry, binary, known[name])
    for name in known:
        if name not in arrays:
            raise BadRequestError.of_field(
                f"inputs.{name}", "is missing", remedy=f"the model takes {_list(known)}"
            )
    return {name: arrays[name] for name in known}


def _read_tensor(entry: Mapping[str, Any], binary: memoryview | None, spec: TensorSpec) -> Array:
    field = f"inputs.{spec.name}"
    check_fields(entry, ("name", "shape", "datatype", "parameters", "data"), field)
    expected = DATATYPES[spec.dtype]
    if entry.get("datatype") != expected:
        got = shorten(str(entry.get("datatype", "none")))
        raise BadRequestError.of_field(
            f"{field}.datatype",
            f"is {got}, but the model takes {expected}",
            remedy=f"send {expected}",
        )
    shape = _shape(entry, field)
    if not spec.takes(shape):
        raise BadRequestError.of_field(
            f"{field}.shape",
            f"is {_shown_list(list(shape))}, but the model takes {list(spec.shape)} (-1: any size)",
            remedy="send a tensor of such a shape",
        )
    count = math.prod(shape)
    if count == 0:
        raise BadRequestError.of_field(
            f"{field}.shape",
            f"is {list(shape)}: the tensor is empty",
            remedy="send at least one value along every dimension",
        )
    if binary is not None:
        return _from_binary(binary, spec, count, field).reshape(shape)
    if "data" not in entry:
        raise BadRequestError.of_field(
            field, "has no data", remedy=f"send {field}.data, or bytes and binary_data_size"
        )
    return flat_array(entry["data"], spec, shape=shape).reshape(shape)


def _shape(entry: Mapping[str, Any], field: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise BadRequestError.of_field(
            f"{field}.shape",
            "is missing" if shape is None else f"is {_shown_list(shape)}",
            remedy="send a list of sizes, whole numbers of which none is negative",
        )
    if len(shape) > _MOST_DIMENSIONS:
        raise BadRequestError.of_field(
            f"{field}.shape",
            f"has {len(shape)} dimensions, at most {_MOST_DIMENSIONS} are read",
            remedy="send the shape that the model takes",
        )
    if math.prod(shape) > _MOST_ELEMENTS:
        raise BadRequestError.of_field(
            f"{field}.shape",
            f"is {_shown_list(shape)}, more than {_MOST_ELEMENTS} elements: no body holds them",
            remedy="send the shape that the data have",
        )
    return tuple(shape)


def _shown_list(value: object) -> str:
    return shorten(str(value[:_MOST_DIMENSIONS])) if isinstance(value, list) else shown(value)


def _from_binary(content: memoryview, spec: TensorSpec, count: int, field: str) -> Array:
    if spec.dtype == "string":
        if count * 4 > len(content):
            raise BadRequestError.of_field(
                field, f"has {len(content)} bytes, too few for {count} strings"
            )
        try:
            return unpack_strings(content, count)
        except ValueError as error:
            raise BadRequestError.of_field(field, str(error)) from error
    kind = storage(spec.dtype)
    if len(content) != count * kind.itemsize:
        raise BadRequestError.of_field(
            field, f"has {len(content)} bytes, but its shape needs {count * kind.itemsize}"
        )
    if spec.dtype == "bool" and (np.frombuffer(content, np.uint8) > 1).any():
        raise BadRequestError.of_field(field, "has bytes that are neither 0 nor 1")
    return np.frombuffer(content, kind)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names)
