"""The schemas take what the codec takes, and refuse what it refuses."""

from __future__ import annotations

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.tensor import TensorSpec
from serving.codec.tensors import to_array
from serving.openapi.schema import element, nested, sample

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REAL = ("float16", "float32", "float64")


def taken(value: object, dtype: str, shape: tuple[int, ...]) -> bool:
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    try:
        to_array(value, spec, shape=shape)
    except InputError:
        return False
    return True


def valid(schema: dict, value: object) -> bool:
    return jsonschema_rs.is_valid(schema, value)


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_are_bounded_as_the_codec_bounds_them(dtype):
    limits = np.iinfo(dtype)
    for number in (limits.min, limits.min - 1, limits.max, limits.max + 1, 0):
        assert valid(element(dtype), int(number)) == taken([int(number)], dtype, (1,))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_numbers_are_bounded_where_rounding_makes_them_infinite(dtype):
    most = np.finfo(dtype).max
    largest = float(most)
    step = (largest - float(np.nextafter(most, most.dtype.type(0)))) / 2
    for number in (largest, largest + step, float(np.nextafter(largest + step, 0)), 2 * largest):
        for value in (number, -number):
            assert valid(element(dtype), value) == taken([value], dtype, (1,)), value


@given(
    dtype=st.sampled_from([*WHOLE, *REAL, "bool", "string"]),
    value=st.recursive(
        st.one_of(st.booleans(), st.integers(-300, 300), st.text(max_size=3), st.none()),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
)
def test_nested_lists_are_valid_where_the_codec_takes_them(dtype, value):
    for shape in ((2,), (-1,), (2, 2), (-1, 2)):
        if taken(value, dtype, shape):
            assert valid(nested(dtype, shape), value)
        elif valid(nested(dtype, shape), value):
            # Lists of one length each, which a schema has no word for.
            assert len({len(row) for row in value}) > 1


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "string"])
def test_of_a_tensor_without_a_shape_a_value_and_any_lists_are_valid(dtype):
    spec = TensorSpec(name="x", dtype=dtype, shape=(), unranked=True)
    one = {"bool": True, "string": "a"}.get(dtype, 1)
    for value in (one, [one], [[[one, one]]]):
        assert to_array(value, spec, shape=()).tolist() == value
        assert valid(sample(spec, batchable=False), value)
    for wrong in ([], {}, None):
        assert not valid(sample(spec, batchable=False), wrong)
