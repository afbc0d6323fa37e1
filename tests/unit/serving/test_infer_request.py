"""Inference requests that are wrong are refused with the field, the value and a remedy, shortly."""

from __future__ import annotations

import json

import pytest

from bundle.tensor import TensorSpec
from serving.codec.infer_request import parse_infer_request
from serving.codec.infer_tensors import read_tensors
from serving.errors import BadRequestError

SPEC = TensorSpec(name="x", dtype="float32", shape=(-1, 4))
INPUT = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
LONG = "x" * 5000


def refused(document: object) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        read_tensors(parse_infer_request(json.dumps(document).encode(), None), [SPEC])
    return caught.value


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"timeout": 10**15}, "under 1000000000000000, not 1000000000000000"),
        ({"timeout": -1}, "not -1"),
        ({"timeout": "1"}, 'not "1"'),
        ({"priority": 1001}, "from 0 to 1000, not 1001"),
        ({"binary_data_output": 1}, "true or false, not 1"),
    ],
)
def test_a_parameter_is_refused_with_its_bounds_and_its_value(parameters, message):
    error = refused({"inputs": [INPUT], "parameters": parameters})
    assert message in str(error)
    assert error.remedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [1] * 33}, "has 33 dimensions, at most 32 are read"),
        ({"shape": [2**31, 2**31]}, "is [2147483648, 2147483648], more than 1099511627776"),
        ({"shape": [1, -4]}, "is [1, -4]"),
        ({"shape": [-1] * 5000}, "is [-1, -1"),
        ({"shape": LONG}, 'is "xxx'),
        ({"shape": None}, "is missing"),
        ({"shape": [0, 4]}, "is [0, 4]: the tensor is empty"),
        ({"data": 1, "parameters": {"binary_data_size": 0}}, "has both data and"),
        ({"parameters": {"binary_data_size": "4"}}, 'whole number of bytes, not "4"'),
        ({"parameters": [1]}, "must be an object, not a list"),
        ({"datatype": LONG}, "but the model takes FP32"),
        ({"shape": [2**35, 1, 1]}, "is [34359738368, 1, 1], but the model takes [-1, 4]"),
        ({"parameters": {"binary_data_size": 4}, "data": None}, "has both data and"),
        ({LONG: 1}, "is not a field of a tensor"),
    ],
)
def test_a_tensor_is_refused_with_what_is_wrong_and_what_to_do(change, message):
    error = refused({"inputs": [INPUT | change]})
    assert message in str(error)
    assert error.remedy
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "inputs is missing"),
        ({"inputs": {}}, "list of tensors, not an object"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": [LONG]}, 'inputs[0] must be an object, not "xxx'),
        ({"inputs": [{}]}, "inputs[0].name is missing"),
        ({"inputs": [{"name": 3}]}, "name of a tensor, not 3"),
        ({"inputs": [INPUT, INPUT]}, "inputs.x is given twice"),
        ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]}, "has no data"),
        ({"inputs": [INPUT], "id": 2 * LONG}, 'at most 1024 characters, not "xxx'),
        ({"inputs": [INPUT], LONG: 1}, "is not a field of an inference request"),
        ({"inputs": [INPUT | {"name": "z"}]}, "inputs.z is unknown"),
    ],
)
def test_a_request_is_refused_with_what_is_wrong_and_what_to_do(document, message):
    error = refused(document)
    assert message in str(error)
    assert error.remedy
    assert len(str(error)) < 200
