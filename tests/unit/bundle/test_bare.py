from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from bundle.bare import open_bare
from bundle.engine.select import load_engine
from bundle.errors import EngineError, ManifestError, NotFoundError
from bundle.model import Model
from tests.bare_graphs import FLOAT, convolved_onnx, cross_onnx, endless_onnx, graph, zipmap_onnx
from tests.tiny_bundle import serialize, tensor_model, text_model


def test_bare_model_has_the_signature_of_its_graph(tmp_path):
    (tmp_path / "my net.onnx").write_bytes(text_model())

    bundle = open_bare(tmp_path / "my net.onnx")

    manifest = bundle.manifest
    assert manifest.name == "my net"
    assert manifest.task == "tensor"
    assert manifest.labels == ()
    assert manifest.preprocessing is None
    assert [spec.to_dict() for spec in manifest.inputs] == [
        {"name": "input_ids", "dtype": "int64", "shape": [-1, -1]},
        {"name": "attention_mask", "dtype": "int64", "shape": [-1, -1]},
    ]
    (variant,) = manifest.variants
    assert not variant.certified
    assert variant.gate.reason


def test_bare_model_runs_like_any_variant(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model())

    engine = load_engine(open_bare(tmp_path / "m.onnx"), provider="cpu")

    assert engine.predict({"x": [1, 2, 3, 4]})["y"].tolist() == [-1, -2, -3, -4]


def test_bare_model_may_be_given_a_name(tmp_path):
    (tmp_path / "a=b.onnx").write_bytes(tensor_model())

    with pytest.raises(ManifestError, match="cannot name a model"):
        open_bare(tmp_path / "a=b.onnx")
    assert open_bare(tmp_path / "a=b.onnx", name="fine").manifest.name == "fine"


def test_bare_model_with_fixed_batch_is_not_batchable(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model(batch=2))

    bundle = open_bare(tmp_path / "m.onnx")

    assert bundle.manifest.inputs[0].shape == (2, 4)
    assert not load_engine(bundle, provider="cpu").batchable


def test_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.onnx"):
        open_bare(tmp_path / "gone.onnx")


def test_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_text("hello")

    with pytest.raises(EngineError, match=r"cannot load m\.onnx"):
        open_bare(tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["input", "output"])
def test_element_type_that_no_protocol_has_is_refused(kind, tmp_path):
    types = (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT)
    before, after = types if kind == "input" else types[::-1]
    model = serialize(
        [helper.make_node("Cast", ["x"], ["y"], to=after)],
        [helper.make_tensor_value_info("x", before, ["n", 2])],
        [helper.make_tensor_value_info("y", after, ["n", 2])],
        {},
        opset=19,
    )
    (tmp_path / "m.onnx").write_bytes(model)

    with pytest.raises(EngineError, match=r"m\.onnx is refused: .*float8") as found:
        open_bare(tmp_path / "m.onnx")

    assert "float32" in found.value.remedy


@pytest.mark.parametrize(
    ("model", "message", "remedy"),
    [
        (zipmap_onnx(), "the model's 'z' is a seq(map(int64", 'options={"zipmap": False}'),
        (
            graph(
                [helper.make_node("SequenceAt", ["s", "first"], ["y"])],
                [helper.make_tensor_sequence_value_info("s", FLOAT, ["N"])],
                [helper.make_tensor_value_info("y", FLOAT, ["N"])],
                weights={"first": np.array(0)},
            ),
            "the model's 's' is a seq(tensor(float))",
            "a graph in which 's' is a tensor",
        ),
        (endless_onnx(), "its graph has no outputs", "export it with outputs"),
        (
            graph(
                [helper.make_node("Identity", ["one"], ["y"])],
                [],
                [helper.make_tensor_value_info("y", FLOAT, [])],
                weights={"one": np.float32(1)},
            ),
            "its graph has no inputs",
            "export it with inputs",
        ),
    ],
)
def test_what_is_refused_is_told_with_the_file_and_what_to_do(model, message, remedy, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model)

    with pytest.raises(EngineError) as found:
        open_bare(tmp_path / "m.onnx")

    assert str(found.value).startswith(f"the model {tmp_path / 'm.onnx'} is refused: {message}")
    assert remedy in found.value.remedy


def test_rows_of_different_names_are_no_batch_in_any_process(tmp_path):
    (tmp_path / "cross.onnx").write_bytes(cross_onnx())
    a, b = np.ones((2, 2), np.float32), np.ones((3, 2), np.float32)

    model = Model.load(tmp_path / "cross.onnx", provider="cpu")

    assert not model.engine.batchable
    assert model.engine.max_batch_size == 1
    samples = [{"inputs": {"a": a, "b": b}}, {"inputs": {"a": a[:1], "b": b[:1]}}]
    first, second = model.predict_batch(samples)
    assert first == {"outputs": {"y": [[2.0] * 3] * 2}}
    assert second == {"outputs": {"y": [[2.0]]}}


def test_an_output_without_a_shape_is_batched_where_its_rows_are_those_of_the_input(tmp_path):
    (tmp_path / "m.onnx").write_bytes(convolved_onnx())

    engine = load_engine(open_bare(tmp_path / "m.onnx"), provider="cpu", max_batch_size=2)

    assert engine.batchable
    x = np.ones((3, 1, 5, 4), np.float32)
    assert engine.predict_batch({"x": x})["y"].shape == (3, 1, 3, 2)
