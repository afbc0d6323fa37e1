"""JSON bodies of /predict and /predict/batch, and the answers to them."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import orjson

from serving.codec.depth import check_depth
from serving.codec.names import check_names
from serving.codec.request import (
    OPTION_FIELDS,
    SAMPLE_FIELDS,
    Options,
    PredictRequest,
    Sample,
    check_known,
    take_sample,
)
from serving.errors import BadRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON = "application/json"
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_INSTANCES = 'send {"instances": [{"image": …}, …]}'
_OF_SINGLE = (*SAMPLE_FIELDS, *OPTION_FIELDS)
_OF_BATCH = ("instances", *OPTION_FIELDS)
_JSON_NAMES = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def parse_object(body: bytes, *, example: str) -> dict[str, Any]:
    """The body as a JSON object. Raises BadRequestError, which shows the `example` of one."""
    if not body:
        raise BadRequestError("the body is empty", code="malformed_json", remedy=f"send {example}")
    check_depth(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON: {error}", code="malformed_json") from error
    if not isinstance(document, dict):
        raise BadRequestError(
            f"the body must be a JSON object, got {_name(document)}",
            remedy=f"send {example}",
        )
    check_names(body, document)
    return document


def read_single(document: Mapping[str, Any], options: Options) -> PredictRequest:
    """The request of /predict."""
    check_known(document, _OF_SINGLE)
    return PredictRequest((_sample(document),), options)


def read_batch(document: Mapping[str, Any], options: Options, *, maximum: int) -> PredictRequest:
    """The request of /predict/batch, of at most `maximum` instances."""
    check_known(document, _OF_BATCH)
    if "instances" not in document:
        raise BadRequestError(
            "the request has no instances",
            code="missing_field",
            field="instances",
            remedy=_INSTANCES,
        )
    instances = document["instances"]
    if not isinstance(instances, list):
        raise BadRequestError.of_field(
            "instances", f"must be a list, got {_name(instances)}", remedy=_INSTANCES
        )
    if not instances:
        raise BadRequestError.of_field("instances", "is empty", remedy="send at least one instance")
    if len(instances) > maximum:
        raise TooLargeError(
            f"the request has {len(instances)} instances, at most {maximum} are taken",
            code="too_many_instances",
            field="instances",
            remedy=f"send requests of at most {maximum} instances",
        )
    samples = []
    for index, instance in enumerate(instances):
        path = f"instances[{index}]"
        if not isinstance(instance, dict):
            raise BadRequestError.of_field(
                path, f"must be an object, got {_name(instance)}", remedy=_INSTANCES
            )
        check_known(instance, SAMPLE_FIELDS, path=path)
        samples.append(_sample(instance, path=path))
    return PredictRequest(tuple(samples), options)


def _sample(document: Mapping[str, Any], *, path: str = "") -> Sample:
    field, value = take_sample(document, path=path)
    where = f"{path}.{field}" if path else field
    if field == "inputs":
        if not isinstance(value, dict):
            raise BadRequestError.of_field(
                where,
                f"must be an object of tensors by name, got {_name(value)}",
                remedy='send {"x": [1, 2, …], …}',
            )
        return Sample(field, value, path)
    if not isinstance(value, str):
        raise BadRequestError.of_field(
            where,
            f"must be a string, got {_name(value)}",
            remedy="send the base64 of the file" if field == "image" else "send the text in quotes",
        )
    return Sample(field, decode_image(value, where) if field == "image" else value, path)


def decode_image(text: str, where: str) -> bytes:
    """Base64 or a data: URI of it. Raises BadRequestError."""
    prefix = _DATA_URI.match(text)
    if prefix is None and text.startswith("data:"):
        raise BadRequestError.of_field(
            where, "is a data: URI of something else than a base64 image",
            remedy="send data:image/png;base64,… or the base64 alone",
        )  # fmt: skip
    try:
        return base64.b64decode(text[prefix.end() :] if prefix else text, validate=True)
    except ValueError as error:
        raise BadRequestError.of_field(
            where, f"is not base64: {error}",
            remedy="use the standard alphabet, with padding and without line breaks",
        ) from error  # fmt: skip


def dump(document: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """The body of an answer; a number in it, read back, is the number that went in."""
    return orjson.dumps(document)


def _name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "an object" if isinstance(value, dict) else "a number")
