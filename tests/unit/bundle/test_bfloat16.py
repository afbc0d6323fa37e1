"""bfloat16 as its bits, against the type that ml_dtypes adds to numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from bundle.bfloat16 import as_numbers, is_finite, to_float32
from bundle.engine.ones import ones, zeros_and_ones
from bundle.engine.onnx import OnnxEngine
from bundle.errors import EngineError
from bundle.tensor import TensorSpec
from tests.served_bundles import casting_onnx, identity_onnx

EVERY = np.arange(2**16, dtype=np.uint32).astype(np.uint16)
NUMBERS = EVERY.view(ml_dtypes.bfloat16)


def test_every_bit_pattern_is_the_number_that_ml_dtypes_says():
    np.testing.assert_array_equal(to_float32(EVERY), NUMBERS.astype(np.float32))
    np.testing.assert_array_equal(is_finite(EVERY), np.isfinite(NUMBERS.astype(np.float32)))


@pytest.mark.parametrize("batch", ["batch", 4096])
def test_engine_runs_a_model_of_bfloat16_on_every_finite_number(batch):
    engine = OnnxEngine(casting_onnx(batch=batch), provider="cpu", threads=1, max_batch_size=4096)
    finite = EVERY[is_finite(EVERY)]
    rows = np.resize(finite, (4 * 4096,)).reshape(4096, 4)
    rows = rows if engine.batchable else rows[np.newaxis]
    outputs = engine.predict_batch({"x": rows})
    assert outputs["back"].tobytes() == rows.tobytes()
    assert outputs["wide"].tobytes() == to_float32(rows).tobytes()


def test_ones_and_zeros_of_bfloat16_are_their_bits():
    specs = [TensorSpec(name="x", dtype="bfloat16", shape=(1, 2))]
    made = [make(specs, size=1) for make in (ones, zeros_and_ones)]
    assert [as_numbers(specs, each)["x"].tolist() for each in made] == [[[1, 1]], [[0, 1]]]


def test_outputs_of_bfloat16_are_shown_as_numbers():
    specs = [
        TensorSpec(name="a", dtype="bfloat16", shape=(-1,)),
        TensorSpec(name="b", dtype="uint16", shape=(-1,)),
    ]
    bits = np.array([0x3F80], np.uint16)
    shown = as_numbers(specs, {"a": bits, "b": bits})
    assert shown["a"].tolist() == [1.0]
    assert shown["b"] is bits


def test_engine_refuses_bfloat16_beside_strings():
    with pytest.raises(EngineError, match="bfloat16 and of string"):
        OnnxEngine(identity_onnx({"a": 16, "b": 8}), provider="cpu")
