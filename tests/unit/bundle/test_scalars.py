"""A tensor without dimensions is an array of one value all the way to the runtime and back."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from bundle.bare import open_bare
from bundle.engine.onnx import OnnxEngine
from bundle.engine.select import load_engine
from bundle.model import Model
from tests.bare_graphs import one_node_onnx

VALUES = [
    (TensorProto.BOOL, np.array(True)),
    (TensorProto.INT8, np.array(-7, np.int8)),
    (TensorProto.UINT64, np.array(2**64 - 1, np.uint64)),
    (TensorProto.FLOAT16, np.array(0.5, np.float16)),
    (TensorProto.FLOAT, np.array(1.5, np.float32)),
    (TensorProto.DOUBLE, np.array(1e300)),
    (TensorProto.BFLOAT16, np.array(0x3F80, np.uint16)),
    (TensorProto.STRING, np.array("größe", dtype=object)),
]


@pytest.mark.parametrize(("kind", "x"), VALUES)
def test_a_scalar_goes_in_and_comes_out(kind, x):
    engine = OnnxEngine(one_node_onnx("Identity", [], kind=kind), provider="cpu", threads=1)

    alone = engine.predict({"x": x})["y"]
    several = engine.predict_batch({"x": np.stack([x, x])})["y"]

    assert (alone.shape, alone.dtype, alone.item()) == ((), x.dtype, x.item())
    assert several.tolist() == [x.item(), x.item()]


def test_a_model_of_a_scalar_answers_samples(tmp_path):
    (tmp_path / "m.onnx").write_bytes(one_node_onnx("Neg", []))

    model = Model.load(tmp_path / "m.onnx", provider="cpu")

    samples = [{"inputs": {"x": number}} for number in (1, 2.5)]
    assert model.predict_batch(samples) == [{"outputs": {"y": -1.0}}, {"outputs": {"y": -2.5}}]
    assert not load_engine(open_bare(tmp_path / "m.onnx"), provider="cpu").batchable
