"""JSON Schemas of what goes in and comes out, exact for each served model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.tensor import BFLOAT16, DYNAMIC, STRING
from serving.codec.datatype import DATATYPES
from serving.codec.request import LONGEST_TEXT_OPTION, LONGEST_TIMEOUT_MS, LOWEST_PRIORITY
from serving.codec.tensors import row_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.manifest import Manifest
    from bundle.tensor import TensorSpec
    from serving.served_model import ServedModel

Schema = dict[str, Any]

NULL = {"type": "null"}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT_OPTION}
_INTEGER: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
OPTIONS: dict[str, Schema] = {
    "version": {"anyOf": [_TEXT, _INTEGER, NULL]},
    "timeout_ms": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "exclusiveMaximum": LONGEST_TIMEOUT_MS,
        "description": "Milliseconds until the request is answered 504; it only shortens "
        "the server's own limit.",
    },
    "priority": {"type": ["integer", "null"], "minimum": 1, "maximum": LOWEST_PRIORITY},
    "key": {"anyOf": [_TEXT, NULL], "description": "Whose request this is, for sticky splits."},
    "id": {"anyOf": [_TEXT, _INTEGER, NULL]},
}
ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": "string"},
                "remedy": {"type": "string"},
            },
            "required": ["code", "message"],
            "additionalProperties": False,
        },
        "id": {"type": ["string", "integer"]},
    },
    "required": ["error", "id"],
    "additionalProperties": False,
}
PROTOCOL_ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}

INDEX: Schema = {
    "type": "object",
    "properties": {
        "ready": {"type": "boolean", "description": "Whether to leave out what is refused."}
    },
    "additionalProperties": False,
}


def closed(properties: dict[str, Schema], *, required: Sequence[str] | None = None) -> Schema:
    """An object of these properties and no others; all required unless said otherwise."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def element(dtype: str, *, answer: bool = False) -> Schema:
    """One value of a tensor, as JSON has it. In a request a floating-point number is rounded to the
    nearest that the type has; in an answer it is written with few digits, and bounds would lie.
    """
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype == STRING:
        return {"type": "string"}
    kind = np.dtype("float32" if dtype == BFLOAT16 else dtype)
    if kind.kind == "f":
        limits = np.finfo(kind)
        if answer or kind.itemsize == 8:  # JSON's own numbers, as far as they are read
            return {"type": "number"}
        # Half a step above the largest number: from there on the nearest one is infinite.
        over = 2.0**limits.maxexp - 2.0 ** (limits.maxexp - limits.nmant - 2)
        return {"type": "number", "exclusiveMinimum": -over, "exclusiveMaximum": over}
    return {
        "type": "integer",
        "minimum": int(np.iinfo(kind).min),
        "maximum": int(np.iinfo(kind).max),
    }


def nested(dtype: str, shape: Sequence[int], *, answer: bool = False) -> Schema:
    """Lists in lists, as long as the shape says; a dynamic dimension has at least one value."""
    schema = element(dtype, answer=answer)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": max(size, 1)}
        if size != DYNAMIC:
            schema["maxItems"] = size
    return schema


def sample(spec: TensorSpec, *, batchable: bool, answer: bool = False) -> Schema:
    """A sample's part of a tensor; a value, or lists of any depth, where nobody knows the shape."""
    if spec.unranked:
        one = element(spec.dtype, answer=answer)
        return {**one, "type": [one["type"], "array"], "minItems": 1}
    return nested(spec.dtype, row_shape(spec, batchable=batchable), answer=answer)


def samples(served: ServedModel) -> dict[str, Schema]:
    """What a sample of the model may be, by its field in the body."""
    found: dict[str, Schema] = {}
    if served.preprocessor is not None:
        field = served.preprocessor.sample_field
        found[field] = {"type": "string", "minLength": 1}
        if field == "image":
            found[field] |= {"contentEncoding": "base64", "description": "Or a data: URI of it."}
    specs = served.manifest.inputs
    if all(spec.dtype != BFLOAT16 for spec in specs):  # JSON has no form for it
        batchable = served.info.batchable
        found["inputs"] = closed({spec.name: sample(spec, batchable=batchable) for spec in specs})
    return found


def predict_body(served: ServedModel, *, default: bool) -> list[Schema]:
    """The bodies of /predict for one model; the default model may be left unnamed."""
    return [
        closed(
            {field: schema, **_options(served, default=default)},
            required=[field, *([] if default else ["model"])],
        )
        for field, schema in samples(served).items()
    ]


def batch_body(served: ServedModel, *, default: bool, most: int) -> list[Schema]:
    """The bodies of /predict/batch for one model."""
    instances = [closed({field: schema}) for field, schema in samples(served).items()]
    if not instances:
        return []
    items = instances[0] if len(instances) == 1 else {"anyOf": instances}
    properties = {
        "instances": {"type": "array", "items": items, "minItems": 1, "maxItems": most},
        **_options(served, default=default),
    }
    return [closed(properties, required=["instances", *([] if default else ["model"])])]


def prediction(manifest: Manifest, *, batchable: bool) -> Schema:
    """What one sample is answered: {"prediction": …} or {"outputs": …}."""
    if manifest.labels:
        share = {"type": "number", "minimum": 0, "maximum": 1}
        found: dict[str, Schema] = {
            "label": {"enum": list(manifest.labels)},
            "index": {"type": "integer", "minimum": 0, "maximum": len(manifest.labels) - 1},
            "probabilities": closed(dict.fromkeys(manifest.labels, share)),
        }
        return closed({"prediction": closed(found)})
    outputs = {
        spec.name: sample(spec, batchable=batchable, answer=True) for spec in manifest.outputs
    }
    return closed({"outputs": closed(outputs)})


def infer_body(served: ServedModel) -> Schema:
    """The JSON of an inference by the Open Inference Protocol."""
    entries = [_input(spec) for spec in served.manifest.inputs]
    inputs: Schema = {
        "type": "array",
        "items": entries[0] if len(entries) == 1 else {"anyOf": entries},
        "minItems": len(entries),
        "maxItems": len(entries),
    }
    names = [spec.name for spec in served.manifest.outputs]
    output = closed(
        {"name": {"enum": names}, "parameters": _parameters(binary_data={"type": "boolean"})},
        required=["name"],
    )
    outputs = {"type": ["array", "null"], "items": output, "maxItems": len(names)}
    if len(names) > 1:
        outputs["description"] = "Each output once at most."
    return closed(
        {
            "id": {"type": "string", "maxLength": 1024},
            "parameters": _parameters(
                timeout={
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 10**15 - 1,
                    "description": "Microseconds; 0 is none.",
                },
                priority={"type": "integer", "minimum": 0, "maximum": LOWEST_PRIORITY},
                binary_data_output={"type": "boolean"},
            ),
            "inputs": inputs,
            "outputs": outputs,
        },
        required=["inputs"],
    )


def infer_answer(served: ServedModel) -> Schema:
    """The JSON of an answer by the Open Inference Protocol."""
    entries = [_output(spec) for spec in served.manifest.outputs]
    return closed(
        {
            "id": {"type": "string"},
            "model_name": {"const": served.info.name},
            "model_version": {"const": served.info.version},
            "outputs": {"type": "array", "items": {"anyOf": entries}},
        }
    )


def _options(served: ServedModel, *, default: bool) -> dict[str, Schema]:
    names: list[str | None] = [served.info.name, *([None] if default else [])]
    return {"model": {"enum": names}, **OPTIONS}


def _input(spec: TensorSpec) -> Schema:
    shape: Schema = {"const": list(spec.shape)}
    flat = nested(spec.dtype, [DYNAMIC])
    if spec.unranked:
        shape = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    elif DYNAMIC in spec.shape:
        shape = {
            "type": "array",
            "prefixItems": [
                {"type": "integer", "minimum": 1} if size == DYNAMIC else {"const": size}
                for size in spec.shape
            ],
            "minItems": len(spec.shape),
            "maxItems": len(spec.shape),
        }
    else:
        flat = nested(spec.dtype, [int(np.prod(spec.shape, dtype=np.int64))])
    data = flat if len(spec.shape) == 1 else {"anyOf": [flat, sample(spec, batchable=False)]}
    return closed(
        {
            "name": {"const": spec.name},
            "datatype": {"const": DATATYPES[spec.dtype]},
            "shape": shape,
            "parameters": {"type": ["object", "null"]},
            "data": data,
        },
        required=["name", "datatype", "shape", "data"],
    )


def _output(spec: TensorSpec) -> Schema:
    return closed(
        {
            "name": {"const": spec.name},
            "datatype": {"const": DATATYPES[spec.dtype]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array", "items": element(spec.dtype, answer=True)},
        }
    )


def _parameters(**known: Schema) -> Schema:
    """Other parameters are overlooked, as the protocol wants it."""
    return {"type": ["object", "null"], "properties": known}
