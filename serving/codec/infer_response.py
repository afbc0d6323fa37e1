"""The Open Inference Protocol's answer: JSON, then the tensors that were asked for as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from bundle.finite import all_finite
from serving.codec.datatype import DATATYPES, has_json, pack_strings, storage
from serving.errors import BadRequestError, RefusedSampleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.tensor import TensorSpec
    from serving.codec.infer_request import InferRequest, WantedOutput
    from serving.wire import Array, Tensors


def choose_outputs(
    request: InferRequest, specs: Sequence[TensorSpec]
) -> list[tuple[TensorSpec, bool]]:
    """What to answer with, in order, and whether as bytes. Raises BadRequestError."""
    known = {spec.name: spec for spec in specs}
    if request.outputs is None:
        chosen = [(spec, request.binary_outputs) for spec in specs]
    else:
        chosen = [(_known(wanted, known), wanted.binary) for wanted in request.outputs]
    for spec, binary in chosen:
        if not binary and not has_json(spec.dtype):
            raise BadRequestError(
                f"outputs.{spec.name} is {DATATYPES[spec.dtype]}, which JSON has no form for",
                field=f"outputs.{spec.name}",
                remedy="ask for it with binary_data",
            )
    return chosen


def write_infer_response(
    head: Mapping[str, Any], outputs: Tensors, chosen: Sequence[tuple[TensorSpec, bool]]
) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if tensors follow it.

    Raises RefusedSampleError where a value to be written as JSON is not finite.
    """
    entries: list[dict[str, Any]] = []
    binaries: list[bytes] = []
    for spec, binary in chosen:
        array = outputs[spec.name]
        entry: dict[str, Any] = {
            "name": spec.name,
            "datatype": DATATYPES[spec.dtype],
            "shape": list(array.shape),
        }
        if binary:
            content = _to_bytes(array, spec)
            entry["parameters"] = {"binary_data_size": len(content)}
            binaries.append(content)
        else:
            entry["data"] = _to_values(array, spec)
        entries.append(entry)
    header = orjson.dumps({**head, "outputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binaries:
        return header, None
    return b"".join([header, *binaries]), len(header)


def _known(wanted: WantedOutput, known: Mapping[str, TensorSpec]) -> TensorSpec:
    if wanted.name not in known:
        raise BadRequestError(
            f"outputs.{wanted.name[:64]} is unknown",
            code="invalid_field",
            field="outputs",
            remedy=f"the model gives {', '.join(known)}",
        )
    return known[wanted.name]


def _to_bytes(array: Array, spec: TensorSpec) -> bytes:
    if spec.dtype == "string":
        return pack_strings(array)
    return np.ascontiguousarray(array, dtype=storage(spec.dtype)).tobytes()


def _to_values(array: Array, spec: TensorSpec) -> Any:
    """Row-major. Floating-point numbers are written so that reading them gives the same number."""
    if not all_finite(array):
        raise RefusedSampleError(
            f"the model's {spec.name!r} has NaN or infinite values for this input; ask for it with "
            "binary_data, since JSON has no form for them",
            index=None,
            code="no_finite_answer",
        )
    if spec.dtype == "string":
        return [str(value) for value in array.ravel()]
    return np.ascontiguousarray(array).ravel()
