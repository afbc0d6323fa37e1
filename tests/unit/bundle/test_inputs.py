from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bundle.engine.inputs import as_array, check_batch, check_tensors
from bundle.errors import InputError
from bundle.tensor import TensorSpec

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")


def spec(dtype, shape=(-1,), name="x"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize("dtype", ["bool", *NUMBERS, *FLOATS])
def test_array_of_the_right_type_is_not_copied(dtype):
    array = np.zeros(3, dtype)

    assert as_array(array, spec(dtype)) is array


@given(
    source=st.sampled_from([*NUMBERS, *FLOATS]),
    target=st.sampled_from([*NUMBERS, *FLOATS]),
    data=st.data(),
)
def test_array_converts_exactly_or_is_refused(source, target, data):
    elements = npst.from_dtype(np.dtype(source), allow_nan=False)
    array = data.draw(npst.arrays(source, st.integers(0, 5), elements=elements))
    with np.errstate(all="ignore"):
        expected = array.astype(target)
    if expected.tolist() == array.tolist() and (source not in FLOATS or target in FLOATS):
        np.testing.assert_array_equal(as_array(array, spec(target)), expected, strict=True)
    else:
        with pytest.raises(InputError, match=f"inputs.x has dtype {source}, expected {target}"):
            as_array(array, spec(target))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2, 3], "float32"),
        ([2**24, -(2**24)], "float32"),
        ([2**24 + 2], "float32"),
        ([0.1, -2.5], "float32"),
        ([[1], [2]], "uint8"),
        ([True, False], "bool"),
        (7, "int64"),
        ([], "float16"),
        ([[], []], "int64"),
        ([2**63 - 1, -(2**63)], "int64"),
        ([2**64 - 1, 0], "uint64"),
    ],
)
def test_list_of_json_numbers_becomes_an_array(values, dtype):
    array = as_array(values, spec(dtype))

    assert array.dtype == dtype
    np.testing.assert_array_equal(array, np.array(values, dtype))


@pytest.mark.parametrize(
    ("values", "dtype", "got"),
    [
        ([1.5], "int64", "float64"),
        ([1.0], "int64", "float64"),
        ([256], "uint8", "int64"),
        ([-1], "uint8", "int64"),
        ([2**64], "uint64", "mixed"),
        ([2**24 + 1], "float32", "int64"),
        ([1e39], "float32", "float64"),
        ([1e5], "float16", "float64"),
        ([1, True], "bool", "int64"),
        ([1], "bool", "int64"),
        ([True], "float32", "bool"),
        (["1"], "float32", "<U1"),
        ([None], "float32", "mixed"),
        ([{}], "float32", "mixed"),
        ([1j], "float32", "complex128"),
    ],
)
def test_values_that_do_not_convert_are_refused_with_what_was_got_and_expected(values, dtype, got):
    with pytest.raises(InputError) as found:
        as_array(values, spec(dtype))

    assert f"inputs.x has {'mixed' if got == 'mixed' else f'dtype {got}'}" in str(found.value)
    assert f"expected {dtype}" in str(found.value)
    assert found.value.field == "inputs.x"


@pytest.mark.parametrize("values", [[[1, 2], [3]], [1, [2]]])
def test_ragged_list_is_refused(values):
    with pytest.raises(InputError, match=r"inputs\.x"):
        as_array(values, spec("float32"))


@pytest.mark.parametrize("values", [["a", "é"], np.array(["a", "é"]), np.array(["a"], object)])
def test_strings_become_an_array_of_objects(values):
    array = as_array(values, spec("string"))

    assert array.dtype == object
    assert list(array) == list(values)


@pytest.mark.parametrize("values", [[1], ["a", None], [b"a"]])
def test_values_that_are_no_strings_are_refused(values):
    with pytest.raises(InputError, match="not strings"):
        as_array(values, spec("string"))


def test_bfloat16_is_taken_as_its_bits_and_as_nothing_else():
    bits = np.array([0x3F80, 0xC000], np.uint16)
    assert as_array(bits, spec("bfloat16")) is bits
    for other in ([1.0], np.ones(2, np.float32), np.ones(2, np.int16), [0x3F80]):
        with pytest.raises(InputError, match="bits"):
            as_array(other, spec("bfloat16"))


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF])
def test_bfloat16_that_is_not_finite_is_refused(bits):
    wrong = np.array([0x3F80, bits], np.uint16)
    with pytest.raises(InputError, match="NaN or infinite"):
        check_tensors({"x": wrong}, (spec("bfloat16", (2,)),))


SPECS = (spec("float32", (-1, 2), "a"), spec("int64", (-1, -1), "b"))


def test_batch_comes_in_the_order_of_the_specs():
    batch = check_batch({"b": [[1]], "a": [[1, 2]]}, SPECS)

    assert list(batch) == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        ({"a": [[1, 2]]}, "inputs.b", "is missing; the model takes a, b"),
        ({"a": [[1, 2]], "b": [[1]], "c": 1}, "inputs.c", "is unknown"),
        ({"a": [1, 2], "b": [[1]]}, "inputs.a", r"shape \[2\], expected \[-1, 2\]"),
        ({"a": [[1, 2, 3]], "b": [[1]]}, "inputs.a", r"shape \[1, 3\], expected \[-1, 2\]"),
        ({"a": [[1, 2]], "b": [[1], [2]]}, "inputs.b", "batch size 2, but inputs.a has 1"),
        ({"a": np.zeros((0, 2), "f"), "b": np.zeros((0, 1), int)}, "inputs.a", "empty batch"),
        ({"a": [[1, float("nan")]], "b": [[1]]}, "inputs.a", "NaN or infinite"),
        ({"a": [[1, float("inf")]], "b": [[1]]}, "inputs.a", "NaN or infinite"),
        ({"a": 3, "b": [[1]]}, "inputs.a", r"shape \[\]"),
    ],
)
def test_batch_names_the_tensor_that_is_wrong(inputs, field, message):
    with pytest.raises(InputError, match=message) as found:
        check_batch(inputs, SPECS)

    assert found.value.field == field


def test_tensors_without_a_batch_may_have_no_dimension():
    assert check_tensors({"x": 3}, (spec("int64", ()),))["x"].shape == ()
