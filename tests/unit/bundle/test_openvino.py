"""OpenVINO: for real where its extra is installed, and its absence elsewhere."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto

from bundle.bare import open_bare
from bundle.engine.onnx import OnnxEngine
from bundle.engine.openvino import OpenVinoEngine, openvino_missing
from bundle.engine.providers import built_in
from bundle.engine.select import load_engine
from bundle.errors import EngineError, InputError, RequestError
from tests.bare_graphs import cross_onnx, one_node_onnx
from tests.tiny_bundle import image_model, tensor_model, text_model

MISSING = openvino_missing()
installed = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

IMAGES = {"image": np.random.default_rng(0).integers(0, 256, (5, 3, 6, 5), dtype=np.uint8)}
TEXTS = {
    "input_ids": np.array([[2, 4, 5, 3], [2, 6, 3, 0]]),
    "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


@pytest.mark.skipif(MISSING is None, reason="OpenVINO is installed")
def test_missing_openvino_is_an_error_with_a_remedy():
    with pytest.raises(EngineError, match="OpenVINO cannot be imported") as found:
        OpenVinoEngine(tensor_model())

    assert "trainyard[openvino]" in found.value.remedy


@pytest.mark.parametrize(
    ("options", "field"),
    [({"precision": "int8"}, "precision"), ({"hint": "fast"}, "hint"), ({"threads": 0}, "threads")],
)
def test_wrong_option_is_refused_by_name(options, field):
    with pytest.raises(RequestError, match="must be") as found:
        OpenVinoEngine(tensor_model(), **options)

    assert found.value.field == field


@installed
@pytest.mark.parametrize(("model", "inputs"), [(image_model(), IMAGES), (text_model(), TEXTS)])
def test_answers_are_those_of_onnx_runtime(model, inputs):
    engine = OpenVinoEngine(model, threads=1)
    reference = OnnxEngine(model, provider="cpu", threads=1)

    assert (engine.inputs, engine.outputs) == (reference.inputs, reference.outputs)
    np.testing.assert_allclose(
        engine.predict_batch(inputs)["logits"],
        reference.predict_batch(inputs)["logits"],
        rtol=1e-5,
        atol=1e-6,
    )
    metadata = json.loads(json.dumps(engine.metadata()))
    assert (metadata["engine"], metadata["provider"]) == ("openvino", "openvino")
    assert metadata["precision"] == "f32"


@installed
def test_threads_are_those_that_the_runtime_says_it_has():
    most = OpenVinoEngine(tensor_model(), threads=10_000).metadata()["threads"]
    assert 1 <= most < 10_000
    assert OpenVinoEngine(tensor_model(), threads=1).metadata()["threads"] == 1


@installed
def test_threads_run_side_by_side():
    engine = OpenVinoEngine(tensor_model(), threads=1)
    batches = [np.full((index % 9 + 1, 4), index, np.float32) for index in range(60)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: engine.predict_batch({"x": x})["y"], batches))

    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result, -batch)


@installed
@pytest.mark.parametrize(
    "model", [b"", b"not a model", tensor_model(operator="Identity", dtype=TensorProto.STRING)]
)
def test_model_that_openvino_does_not_take_is_refused_in_one_line(model):
    with pytest.raises(EngineError) as found:
        OpenVinoEngine(model)

    assert "\n" not in str(found.value)


@installed
def test_shape_that_the_graph_does_not_take_is_an_error():
    engine = OpenVinoEngine(tensor_model(), threads=1)

    with pytest.raises(InputError, match=r"inputs\.x has shape"):
        engine.predict_batch({"x": np.zeros((2, 5), np.float32)})


@installed
def test_scalars_and_rows_that_are_no_batch_are_whole_tensors(tmp_path):
    (tmp_path / "cross.onnx").write_bytes(cross_onnx())
    inputs = {"a": np.ones((2, 2), np.float32), "b": np.ones((3, 2), np.float32)}

    cross = load_engine(open_bare(tmp_path / "cross.onnx"), provider="openvino", threads=1)
    scalar = OpenVinoEngine(one_node_onnx("Neg", []), threads=1)

    assert not cross.batchable
    assert cross.predict(inputs)["y"].shape == (2, 3)
    assert scalar.predict({"x": 1.5})["y"].tolist() == -1.5


@installed
def test_what_openvino_cannot_load_is_to_run_elsewhere(tmp_path):
    (tmp_path / "open.onnx").write_bytes(one_node_onnx("Neg", None))

    with pytest.raises(EngineError, match=r"OpenVINO cannot load open\.onnx") as found:
        OpenVinoEngine(tmp_path / "open.onnx")

    assert found.value.remedy == "use provider=cpu"


@pytest.mark.skipif(
    MISSING is not None and not built_in("openvino"), reason="neither form of OpenVINO is installed"
)
def test_bundle_runs_on_openvino_in_the_form_that_is_installed(image_bundle):
    engine = load_engine(image_bundle, provider="openvino", threads=1)

    assert engine.provider == "openvino"
    assert engine.name == ("onnxruntime" if built_in("openvino") else "openvino")
    expected = load_engine(image_bundle, provider="cpu", threads=1).predict_batch(IMAGES)
    np.testing.assert_allclose(
        engine.predict_batch(IMAGES)["logits"], expected["logits"], rtol=1e-5, atol=1e-6
    )
