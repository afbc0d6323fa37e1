"""The Open Inference Protocol's request for an inference: JSON, or JSON followed by raw tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.quotation import shorten
from serving.codec.datatype import DATATYPES, storage, unpack_strings
from serving.codec.json import parse_object
from serving.codec.request import LONGEST_TIMEOUT_MS, LOWEST_PRIORITY, shown, whole
from serving.codec.tensors import flat_array
from serving.errors import BadRequestError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.tensor import TensorSpec
    from serving.wire import Array

HEADER_LENGTH = "Inference-Header-Content-Length"
UNSUPPORTED = ("classification", "sequence_id", "shared_memory_region")
"""Extensions of the protocol that would give another answer, and are not offered."""
_MOST_DIMENSIONS = 32
_MOST_ELEMENTS = 2**40
"""More than any body holds: a product above it has overflowed, or is meant to."""
_LONGEST_TIMEOUT_US = int(LONGEST_TIMEOUT_MS) * 1000
_LONGEST_ID = 1024
_REQUEST_FIELDS = ("id", "parameters", "inputs", "outputs")


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output that the request names."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request as far as it can be read without knowing the model."""

    id: str
    inputs: tuple[Mapping[str, Any], ...]
    binaries: tuple[memoryview | None, ...]
    """The raw bytes of each input, None where its values are in the JSON."""
    outputs: tuple[WantedOutput, ...] | None
    """None for all of them."""
    binary_outputs: bool
    timeout_ms: float | None
    priority: int


def parse_infer_request(body: bytes, header_length: str | None) -> InferRequest:
    """Raises BadRequestError, or NotSupportedError for an extension that is not offered."""
    head, rest = _split(body, header_length)
    document = parse_object(head, example='{"inputs": [{…}, …]}')
    for name in document:
        if name not in _REQUEST_FIELDS:
            raise BadRequestError.of_field(
                shorten(name),
                "is not a field of an inference request",
                remedy=f"the fields are {', '.join(_REQUEST_FIELDS)}",
            )
    parameters = _object(document, "parameters")
    _refuse_extensions(parameters, "parameters")
    inputs = _entries(document, "inputs")
    if not inputs:
        raise BadRequestError.of_field("inputs", "is empty", remedy="send the model's inputs")
    binary_outputs = _boolean(parameters, "binary_data_output", "parameters")
    return InferRequest(
        id=_identity(document),
        inputs=inputs,
        binaries=_binaries(inputs, rest),
        outputs=_outputs(document, binary=binary_outputs),
        binary_outputs=binary_outputs,
        timeout_ms=_timeout_ms(parameters),
        priority=_priority(parameters),
    )


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


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    text = header_length.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or not (
        0 < (length := int(text)) <= len(body)
    ):
        raise BadRequestError(
            f"{HEADER_LENGTH}={shorten(text)} must be a whole number from 1 to the body's "
            f"{len(body)} bytes",
            field=HEADER_LENGTH,
            remedy="send how many bytes of the body are JSON",
        )
    return body[:length], memoryview(body)[length:]


def _entries(document: Mapping[str, Any], field: str) -> tuple[Mapping[str, Any], ...]:
    """The objects of a list, each with a name of its own."""
    entries = document.get(field)
    if not isinstance(entries, list):
        raise BadRequestError.of_field(
            field,
            f"must be a list of tensors, not {shown(entries)}"
            if field in document
            else "is missing",
            remedy=f'send {{"{field}": [{{"name": …}}, …]}}',
        )
    names = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadRequestError.of_field(
                f"{field}[{index}]",
                f"must be an object, not {shown(entry)}",
                remedy='send {"name": …}',
            )
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequestError.of_field(
                f"{field}[{index}].name",
                f"must be the name of a tensor, not {shown(name)}"
                if "name" in entry
                else "is missing",
                remedy="send a name of the model's metadata",
            )
        if name in names:
            raise BadRequestError.of_field(
                f"{field}.{shorten(name)}", "is given twice", remedy="give it once"
            )
        names.add(name)
        _refuse_extensions(_object(entry, "parameters"), f"{field}.{shorten(name)}.parameters")
    return tuple(entries)


def _check_fields(entry: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for key in entry:
        if key not in known:
            raise BadRequestError.of_field(
                f"{path}.{shorten(key)}",
                "is not a field of a tensor",
                remedy=f"the fields are {', '.join(known)}",
            )


def _binaries(
    inputs: tuple[Mapping[str, Any], ...], rest: memoryview
) -> tuple[memoryview | None, ...]:
    """Cut the raw bytes into the inputs that announce some."""
    found: list[memoryview | None] = []
    offset = 0
    for entry in inputs:
        field = f"inputs.{shorten(entry['name'])}"
        parameters = _object(entry, "parameters")
        if "binary_data_size" not in parameters:
            found.append(None)
            continue
        size = parameters["binary_data_size"]
        if type(size) is not int or size < 0:
            raise BadRequestError.of_field(
                f"{field}.parameters.binary_data_size",
                f"must be a whole number of bytes, not {shown(size)}",
                remedy="send how many bytes of this tensor follow the JSON",
            )
        if "data" in entry:
            raise BadRequestError.of_field(
                field, "has both data and binary_data_size", remedy="send one of them"
            )
        if offset + size > len(rest):
            raise BadRequestError.of_field(
                field,
                f"announces {size} bytes, but {len(rest) - offset} are left in the body",
                remedy="send as many bytes as all binary_data_size say",
            )
        found.append(rest[offset : offset + size])
        offset += size
    if offset != len(rest):
        raise BadRequestError(
            f"{len(rest) - offset} bytes of the body belong to no input",
            field="inputs",
            remedy="send as many bytes as all binary_data_size say",
        )
    return tuple(found)


def _outputs(document: Mapping[str, Any], *, binary: bool) -> tuple[WantedOutput, ...] | None:
    if document.get("outputs") is None:
        return None
    wanted = []
    for entry in _entries(document, "outputs"):
        _check_fields(entry, ("name", "parameters"), f"outputs.{shorten(entry['name'])}")
        parameters = _object(entry, "parameters")
        path = f"outputs.{shorten(entry['name'])}.parameters"
        own = _boolean(parameters, "binary_data", path) if "binary_data" in parameters else binary
        wanted.append(WantedOutput(entry["name"], own))
    return tuple(wanted) or None


def _read_tensor(entry: Mapping[str, Any], binary: memoryview | None, spec: TensorSpec) -> Array:
    field = f"inputs.{spec.name}"
    _check_fields(entry, ("name", "shape", "datatype", "parameters", "data"), field)
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


def _identity(document: Mapping[str, Any]) -> str:
    value = document.get("id", "")
    if not isinstance(value, str) or len(value) > _LONGEST_ID:
        raise BadRequestError.of_field(
            "id",
            f"must be a string of at most {_LONGEST_ID} characters, not {shown(value)}",
            remedy="send such a string, or leave it out",
        )
    return value


def _object(document: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = document.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError.of_field(
            field, f"must be an object, not {shown(value)}", remedy="send {…}, or leave it out"
        )
    return value


def _boolean(parameters: Mapping[str, Any], name: str, path: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError.of_field(
            f"{path}.{name}",
            f"must be true or false, not {shown(value)}",
            remedy="send one of these, or leave it out",
        )
    return value


def _timeout_ms(parameters: Mapping[str, Any]) -> float | None:
    """The protocol counts in microseconds; 0 is none."""
    given = parameters.get("timeout", 0)
    value = whole(given)
    if value is None or not 0 <= value < _LONGEST_TIMEOUT_US:
        raise BadRequestError.of_field(
            "parameters.timeout",
            f"must be a whole number of microseconds from 0 to under {_LONGEST_TIMEOUT_US}, "
            f"not {shown(given)}",
            remedy="send such a number, or leave it out for the server's own limit",
        )
    return value / 1000 or None


def _priority(parameters: Mapping[str, Any]) -> int:
    """0 is the protocol's word for the default."""
    given = parameters.get("priority", 0)
    value = whole(given)
    if value is None or not 0 <= value <= LOWEST_PRIORITY:
        raise BadRequestError.of_field(
            "parameters.priority",
            f"must be a whole number from 0 to {LOWEST_PRIORITY}, not {shown(given)}",
            remedy="send such a number, or leave it out",
        )
    return value or 1


def _refuse_extensions(parameters: Mapping[str, Any], path: str) -> None:
    for name in UNSUPPORTED:
        if parameters.get(name):
            raise NotSupportedError(
                f"{path}.{name}: this extension of the protocol is not supported", field=path
            )


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names)
