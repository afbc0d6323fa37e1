"""Tensors without a shape and scalars are [] to ONNX Runtime, and two things to whoever asks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from bundle.engine.onnx import OnnxEngine
from bundle.engine.shapeless import shapeless
from bundle.errors import InputError
from tests.bare_graphs import FLOAT, graph, one_node_onnx, squeezed_onnx
from tests.served_bundles import double_onnx, value


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (one_node_onnx("Neg", None), {"x", "y"}),
        (one_node_onnx("Neg", [], None), {"y"}),
        (one_node_onnx("Neg", []), set()),
        (double_onnx(), set()),
        (squeezed_onnx([-1] * 300, ["N", 3]), {"y"}),
    ],
)
def test_tensors_without_a_shape_are_found_in_a_file_and_in_its_content(model, names, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model)

    assert shapeless(model) == shapeless(tmp_path / "m.onnx") == names


def test_an_engine_takes_any_shape_where_the_graph_tells_none():
    engine = OnnxEngine(one_node_onnx("Neg", None), provider="cpu", threads=1)

    assert not engine.batchable
    assert [spec.to_dict()["shape"] for spec in (*engine.inputs, *engine.outputs)] == [None, None]
    for shape in ((), (3,), (2, 1, 4)):
        x = np.ones(shape, np.float32)
        np.testing.assert_array_equal(engine.predict({"x": x})["y"], -x)
        np.testing.assert_array_equal(engine.predict_batch({"x": x[np.newaxis]})["y"], [-x])
    with pytest.raises(InputError, match=r"inputs\.x has shape"):
        engine.predict_batch({"x": np.float32(1)})


def test_an_inferred_shape_is_as_good_as_a_told_one():
    model = graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", FLOAT, ["N", 2])],
        [value("y", FLOAT, None)],
    )

    engine = OnnxEngine(model, provider="cpu", threads=1)

    assert engine.outputs[0].to_dict() == {"name": "y", "dtype": "float32", "shape": [-1, 2]}
