"""What ONNX Runtime makes of a graph when an engine opens it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from bundle.engine import session
from bundle.engine.onnx import OnnxEngine
from tests.tiny_bundle import serialize


def test_residual_and_normalisation_stay_apart_on_the_cpu(tmp_path, monkeypatch):
    path = tmp_path / "optimized.onnx"
    plain = session.session_options

    def kept(threads):
        options = plain(threads)
        options.optimized_model_filepath = str(path)
        return options

    monkeypatch.setattr(session, "session_options", kept)
    OnnxEngine(_residual(width=8), provider="cpu", threads=1)
    found = [node.op_type for node in onnx.load(path).graph.node]
    assert found == ["Add", "LayerNormalization"]


def _residual(*, width: int) -> bytes:
    shape = ["batch", "length", width]
    return serialize(
        [
            helper.make_node("Add", ["x", "z"], ["sum"]),
            helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"], axis=-1),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "z")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        {name: np.ones(width, np.float32) for name in ("scale", "bias")},
    )
