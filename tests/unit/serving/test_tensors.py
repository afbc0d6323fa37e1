"""Nested lists become arrays, or a refusal that names the tensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.tensor import TensorSpec
from serving.codec.tensors import _LARGEST, FEW, row_shape, to_array


def convert(value, dtype="float32", shape=(-1, 2)):
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    return to_array(value, spec, shape=row_shape(spec, batchable=True))


def test_to_array_rounds_decimals_and_integers_to_the_nearest_float():
    array = convert([0.1, 16777217])
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array([0.1, 16777216], np.float32))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int8", [-128, 127]),
        ("uint8", [0, 255]),
        ("int64", [-(2**63), 2**63 - 1]),
        ("uint64", [0, 2**64 - 1]),
        ("bool", [True, False]),
        ("float64", [1.7976931348623157e308, 5e-324]),
    ],
)
def test_to_array_keeps_every_value_of_the_type(dtype, values):
    array = convert(values, dtype)
    assert array.dtype == dtype
    assert array.tolist() == values


def test_to_array_keeps_strings():
    array = convert(["", "naïve ☃"], "string")
    assert array.dtype == object
    assert array.tolist() == ["", "naïve ☃"]


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("int8", [0, 128], "out of the range of int8"),
        ("uint8", [-1, 0], "out of the range of uint8"),
        ("int64", [0, 2**63], "out of the range of int64"),
        ("uint64", [-1, 2**63], "out of the range of uint64"),
        ("float32", [1e39, 0], "too large for float32"),
        ("float16", [70000, 0], "too large for float16"),
        ("int64", [1.0, 2], "a number, expected int64"),
        ("int64", [True, 2], "a boolean, expected int64"),
        ("float32", [True, 2.0], "a boolean, expected float32"),
        ("bool", [0, 1], "an integer, expected bool"),
        ("float32", ["1", "2"], "a string, expected float32"),
        ("float32", [None, 1.0], "null, expected float32"),
        ("float32", [{}, 1.0], "an object, expected float32"),
        ("string", ["a", 1], "an integer, expected string"),
        ("bfloat16", [1.0, 2.0], "no form for"),
    ],
)
def test_to_array_refuses_values_that_the_type_does_not_have(dtype, values, message):
    with pytest.raises(InputError, match=message) as caught:
        convert(values, dtype)
    assert caught.value.field == "inputs.x"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3]], "ragged"),
        ([1, [2]], "ragged"),
        ([[1, 2], [3, [4]]], "ragged"),
        (1.0, r"shape \[\], expected \[2\]"),
        ([1, 2, 3], r"shape \[3\], expected \[2\]"),
        ([[1, 2]], r"shape \[1, 2\], expected \[2\]"),
        ([], r"shape \[0\], expected \[2\]"),
        ("text", r"shape \[\], expected \[2\]"),
    ],
)
def test_to_array_refuses_shapes_that_do_not_fit(value, message):
    with pytest.raises(InputError, match=message):
        convert(value)


def test_to_array_takes_any_size_but_none_where_the_size_is_dynamic():
    assert convert([1, 2, 3, 4], "int64", (-1, -1)).shape == (4,)
    with pytest.raises(InputError, match="is empty"):
        convert([], "int64", (-1, -1))


def test_row_shape_is_the_whole_tensor_when_the_model_has_no_batch_dimension():
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 4))
    assert row_shape(spec, batchable=False) == (1, 4)
    assert row_shape(spec, batchable=True) == (4,)


def test_to_array_takes_a_bare_number_for_a_scalar_sample():
    assert convert(3, "int64", (-1,)).shape == ()


NUMBERS = st.one_of(
    st.integers(-(2**1030), 2**1030),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([65504, 65519.99, 65520, 3.4028235677973366e38, 2**53 + 1, 5e-324]),
)


@given(numbers=st.lists(NUMBERS, min_size=1, max_size=4), dtype=st.sampled_from(sorted(_LARGEST)))
def test_a_few_numbers_become_what_many_become(numbers, dtype):
    few, many = (outcome(numbers * times, dtype) for times in (1, FEW // len(numbers) + 1))
    assert few == many[: len(few)]


def outcome(numbers, dtype):
    """The bytes of the array, or the kind of the error."""
    try:
        array = to_array(numbers, TensorSpec(name="x", dtype=dtype, shape=(-1, -1)), shape=(-1,))
    except (InputError, OverflowError) as error:
        return type(error).__name__
    return array.tobytes()
