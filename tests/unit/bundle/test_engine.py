from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bundle.bare import open_bare
from bundle.engine import providers
from bundle.engine.availability import provider_missing
from bundle.engine.base import InferenceEngine
from bundle.engine.cores import available_cores
from bundle.engine.onnx import OnnxEngine
from bundle.engine.select import load_engine
from bundle.errors import EngineError, InputError, NotFoundError, RequestError
from bundle.manifest import GateResult, Variant
from bundle.tensor import TensorSpec
from tests.bare_graphs import one_node_onnx
from tests.tiny_bundle import image_model, image_parts, serialize, tensor_model, text_model

X = TensorSpec(name="x", dtype="float32", shape=(-1, 4))


class Recorder(InferenceEngine):
    """Negates x, and remembers the size of every run."""

    name = "recorder"
    provider = "cpu"

    def __init__(self, **options):
        super().__init__(inputs=(X,), outputs=(replace(X, name="y"),), **options)
        self.sizes = []

    def _run(self, inputs):
        self.sizes.append(len(inputs["x"]))
        return {"y": -inputs["x"]}


@given(count=st.integers(1, 50), largest=st.integers(1, 20))
def test_batch_is_split_joined_and_kept_in_order(count, largest):
    engine = Recorder(max_batch_size=largest)
    x = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)

    result = engine.predict_batch({"x": x})

    np.testing.assert_array_equal(result["y"], -x)
    assert sum(engine.sizes) == count
    assert max(engine.sizes) <= largest
    assert len(engine.sizes) == -(-count // largest)


def test_engine_refuses_a_batch_size_of_nothing():
    with pytest.raises(RequestError, match="max_batch_size=0"):
        Recorder(max_batch_size=0)


@pytest.mark.parametrize("y", [np.zeros((3, 4), np.float32), np.float32(1)])
def test_engine_refuses_outputs_of_another_batch_size(y, monkeypatch):
    engine = Recorder(max_batch_size=8)
    monkeypatch.setattr(engine, "_run", lambda inputs: {"y": np.asarray(y)})

    with pytest.raises(EngineError, match="for a batch of 2"):
        engine.predict_batch({"x": np.zeros((2, 4), np.float32)})


def test_engine_refuses_pieces_that_do_not_fit_together(monkeypatch):
    engine = Recorder(max_batch_size=1)
    widths = iter([1, 2])
    monkeypatch.setattr(engine, "_run", lambda inputs: {"y": np.zeros((1, next(widths)))})

    with pytest.raises(EngineError, match="another shape from batch to batch"):
        engine.predict_batch({"x": np.zeros((2, 4), np.float32)})


@pytest.fixture
def engine():
    return OnnxEngine(tensor_model(), provider="cpu", threads=1, max_batch_size=4)


def test_one_sample_goes_without_batch_dimension(engine):
    result = engine.predict({"x": [1, 2, 3, 4]})

    assert result["y"].tolist() == [-1, -2, -3, -4]
    assert result["y"].dtype == np.float32


def test_one_sample_equals_its_row_of_a_batch_bit_for_bit():
    engine = OnnxEngine(image_model(), provider="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 5), dtype=np.uint8)

    batch = engine.predict_batch({"image": images})["logits"]

    for image, logits in zip(images, batch, strict=True):
        alone = engine.predict({"image": image})["logits"]
        np.testing.assert_allclose(alone, logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"inputs\.x is missing"),
        ({"z": [1, 2, 3, 4]}, r"inputs\.z is unknown"),
        ({"x": [1, 2, 3]}, r"inputs\.x has shape \[3\], expected \[4\]"),
        ({"x": [[1, 2, 3, 4]]}, r"inputs\.x has shape \[1, 4\], expected \[4\]"),
        ({"x": [1, 2, 3, float("nan")]}, "NaN"),
        ({"x": ["a", "b", "c", "d"]}, "expected float32"),
        ({"x": np.arange(4.0) + 0.1}, "expected float32"),
    ],
)
def test_bad_sample_is_refused_by_name(inputs, message, engine):
    with pytest.raises(InputError, match=message):
        engine.predict(inputs)


def test_checked_sample_is_what_the_model_takes(engine):
    sample = engine.check_sample({"x": [1, 2, 3, 4]})

    assert sample["x"].dtype == np.float32
    assert sample["x"].shape == (4,)


def test_dimensions_of_one_name_must_have_one_size():
    engine = OnnxEngine(text_model(), provider="cpu", threads=1)
    ids, mask = np.zeros((2, 5), np.int64), np.ones((2, 4), np.int64)
    message = "inputs.attention_mask has 4 along 'sequence', but inputs.input_ids has 5"

    with pytest.raises(InputError, match=message):
        engine.predict_batch({"input_ids": ids, "attention_mask": mask})
    with pytest.raises(InputError, match=message):
        engine.predict({"input_ids": ids[0], "attention_mask": mask[0]})


@pytest.mark.parametrize("placeholder", ["?", "None", "-1"])
def test_dimensions_that_exporters_leave_without_a_name_may_differ(placeholder):
    model = one_node_onnx("Neg", [1, 3, placeholder, placeholder])
    engine = OnnxEngine(model, provider="cpu", threads=1)

    assert engine.predict({"x": np.ones((1, 3, 2, 5), np.float32)})["y"].shape == (1, 3, 2, 5)


def test_an_engine_that_was_stopped_answers_no_more(engine):
    assert not engine.stopped

    engine.stop()

    assert engine.stopped
    with pytest.raises(EngineError, match="the model failed"):
        engine.predict({"x": [1, 2, 3, 4]})


@pytest.mark.parametrize("batch", [1, 3])
def test_model_without_a_free_first_dimension_takes_whole_samples(batch):
    engine = OnnxEngine(tensor_model(batch=batch), provider="cpu", threads=1)
    sample = np.arange(batch * 4, dtype=np.float32).reshape(batch, 4)

    assert not engine.batchable
    assert engine.max_batch_size == 1
    np.testing.assert_array_equal(engine.predict({"x": sample})["y"], -sample)
    several = engine.predict_batch({"x": np.stack([sample, sample + 1])})
    np.testing.assert_array_equal(several["y"], np.stack([-sample, -sample - 1]))


def test_model_whose_output_has_no_batch_is_not_batchable():
    model = serialize(
        [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        {},
    )
    engine = OnnxEngine(model, provider="cpu", threads=1)

    assert not engine.batchable
    assert engine.predict({"x": [[1, 2], [3, 4]]})["y"] == 2.5
    assert engine.predict_batch({"x": [[[1, 2]], [[3, 4]]]})["y"].tolist() == [1.5, 3.5]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("bool", [True, False, True, True]),
        *((name, [0, 1, 2, 3]) for name in ("int8", "int16", "int32", "int64")),
        *((name, [0, 1, 2, 3]) for name in ("uint8", "uint16", "uint32", "uint64")),
        *((name, [0.5, -1, 2, 3]) for name in ("float16", "float32", "float64")),
        ("string", ["a", "é", "🎬", ""]),
    ],
)
def test_every_element_type_goes_in_and_comes_out(dtype, values):
    number = getattr(
        TensorProto, {"float64": "DOUBLE", "float32": "FLOAT"}.get(dtype, dtype.upper())
    )
    engine = OnnxEngine(tensor_model(operator="Identity", dtype=number), provider="cpu", threads=1)

    result = engine.predict({"x": values})["y"]

    assert engine.inputs[0].dtype == dtype
    assert result.tolist() == values
    assert result.dtype == (object if dtype == "string" else dtype)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_declared_fallback_runs_and_says_what_was_asked_for(provider):
    if provider_missing("cuda") is None:
        pytest.skip("this machine has a GPU")

    engine = OnnxEngine(tensor_model(), provider=provider, fallback=True)

    metadata = engine.metadata()
    assert (metadata["requested"], metadata["actual"]) == (provider, "cpu")
    assert metadata["reason"] == engine.fallback_reason
    assert provider in engine.fallback_reason
    assert engine.predict({"x": [1, 2, 3, 4]})["y"].tolist() == [-1, -2, -3, -4]


def test_what_runs_as_asked_has_no_reason(engine):
    metadata = engine.metadata()

    assert (metadata["requested"], metadata["actual"], metadata["reason"]) == ("cpu", "cpu", None)
    assert not metadata["io_binding"]


def test_metadata_is_json_and_tells_what_runs(engine):
    metadata = json.loads(json.dumps(engine.metadata()))

    assert metadata["engine"] == engine.name == "onnxruntime"
    assert metadata["provider"] == engine.provider == "cpu"
    assert metadata["providers"] == ["CPUExecutionProvider"]
    assert metadata["threads"] == 1
    assert metadata["max_batch_size"] == 4
    assert metadata["inputs"] == [X.to_dict()]


def test_engine_uses_all_cores_of_the_process_unless_told():
    engine = OnnxEngine(tensor_model(), provider="cpu")

    assert engine.metadata()["threads"] == available_cores()


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        ("0 0", 64),
        (None, 64),
    ],
)
def test_cores_are_those_of_the_process_or_its_container(text, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)

    assert available_cores(tmp_path / "cpu.max") == cores


def test_auto_falls_back_to_the_cpu_and_says_why():
    engine = OnnxEngine(tensor_model(), provider="auto")

    if engine.provider != "cpu":
        pytest.skip("this machine has a GPU")
    assert "cuda" in engine.metadata()["reason"]
    assert engine.metadata()["requested"] == "auto"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_provider_that_is_not_installed_is_an_error_with_a_remedy(provider):
    if providers.RUNTIME_NAMES[provider] in providers.onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(EngineError, match=f"provider={provider}") as found:
        OnnxEngine(tensor_model(), provider=provider)

    assert "provider=cpu" in found.value.remedy


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_provider_that_is_listed_but_does_not_run_is_an_error(provider, monkeypatch):
    """The list of available providers is no proof: the session is asked what runs."""
    runtime = providers.onnxruntime
    session = runtime.InferenceSession
    every = list(providers.RUNTIME_NAMES.values())
    monkeypatch.setattr(runtime, "get_available_providers", lambda: every)
    monkeypatch.setattr(
        runtime,
        "InferenceSession",
        lambda model, options, providers, **_: session(model, options, ["CPUExecutionProvider"]),
    )

    with pytest.raises(EngineError, match="runs on CPUExecutionProvider") as found:
        OnnxEngine(tensor_model(), provider=provider)

    assert found.value.field == "provider"
    engine = OnnxEngine(tensor_model(), provider="auto")
    assert engine.provider == "cpu"
    assert "runs on CPUExecutionProvider" in engine.metadata()["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"provider": "tpu"}, "provider='tpu'"), ({"threads": 0}, "threads=0")],
)
def test_wrong_option_is_refused(options, message):
    with pytest.raises(RequestError, match=message):
        OnnxEngine(tensor_model(), **options)


@pytest.mark.parametrize("content", [b"", b"not a model", tensor_model()[:-20], b"\x08\x09"])
def test_file_that_is_no_model_is_refused_quietly(content, tmp_path, capfd):
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(EngineError, match=r"cannot load model\.onnx") as found:
        OnnxEngine(tmp_path / "model.onnx", provider="cpu")

    assert "\n" not in str(found.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(EngineError, match=r"gone\.onnx"):
        OnnxEngine(tmp_path / "gone.onnx", provider="cpu")


def test_model_of_sequences_is_refused():
    model = serialize(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
        {},
    )

    with pytest.raises(EngineError, match=r"'y' is a seq\(tensor\(float\)\)"):
        OnnxEngine(model, provider="cpu")


def test_failing_model_is_an_error_of_one_line_and_prints_nothing(capfd):
    engine = OnnxEngine(text_model(), provider="cpu", threads=1)
    out_of_vocabulary = np.full((1, 3), 10_000)

    with pytest.raises(EngineError, match="the model failed") as found:
        engine.predict_batch(
            {"input_ids": out_of_vocabulary, "attention_mask": np.ones((1, 3), np.int64)}
        )

    assert "\n" not in str(found.value)
    assert capfd.readouterr() == ("", "")


def test_a_fault_that_is_not_the_models_is_not_told_as_one():
    engine = OnnxEngine(tensor_model(), provider="cpu", threads=1)

    with pytest.raises(RuntimeError, match="Unable to handle object"):
        engine._run({"x": np.float32(1)})


def test_many_threads_get_what_one_gets(engine):
    batches = [np.full((index % 9 + 1, 4), index, np.float32) for index in range(60)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: engine.predict_batch({"x": x})["y"], batches))

    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(result, -batch)


def test_bundle_loads_its_default_variant(image_bundle):
    engine = load_engine(image_bundle, threads=1, max_batch_size=7)

    assert engine.inputs == image_bundle.manifest.inputs
    assert engine.max_batch_size == 7


def test_unknown_variant_is_refused_with_the_known_ones(image_bundle):
    with pytest.raises(NotFoundError, match="no variant 'int9'"):
        load_engine(image_bundle, variant="int9")


@pytest.mark.parametrize(
    ("variant", "error", "message"),
    [
        (
            Variant(name="int8", file=None, gate=GateResult(reason="lost 3 points")),
            RequestError,
            "lost 3 points",
        ),
        (Variant(name="trt", file="model.onnx", format="tensorrt"), EngineError, "TensorRT"),
    ],
)
def test_variant_that_cannot_run_is_refused(variant, error, message, tmp_path):
    parts = image_parts()
    variants = (*parts.manifest.variants, variant)
    manifest = replace(parts.manifest, variants=variants)
    bundle = replace(parts, manifest=manifest).write(tmp_path / "b")

    with pytest.raises(error, match=message) as found:
        load_engine(bundle, variant=variant.name)

    assert found.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": (TensorSpec(name="image", dtype="float32", shape=(-1, 3, 6, 5)),)},
        {"inputs": (TensorSpec(name="picture", dtype="uint8", shape=(-1, 3, 6, 5)),)},
        {"inputs": (TensorSpec(name="image", dtype="uint8", shape=(-1, 3, 7, 5)),)},
        {"inputs": (TensorSpec(name="image", dtype="uint8", shape=(-1, 3, -1, 5)),)},
        {"inputs": (TensorSpec(name="image", dtype="uint8", shape=(-1, 3, 30)),)},
        {"outputs": (TensorSpec(name="scores", dtype="float32", shape=(-1, 3)),)},
    ],
)
def test_graph_that_is_not_what_the_manifest_promises_is_refused(changes, tmp_path):
    parts = image_parts()
    manifest = replace(parts.manifest, **changes)
    bundle = replace(parts, manifest=manifest).write(tmp_path / "b")

    with pytest.raises(EngineError, match="but the model's are") as found:
        load_engine(bundle)

    assert found.value.field == next(iter(changes))


def test_only_a_bare_graph_may_leave_open_how_many_dimensions_there_are(tmp_path):
    (tmp_path / "m.onnx").write_bytes(one_node_onnx("Neg", None))
    bare = open_bare(tmp_path / "m.onnx")

    assert load_engine(bare, provider="cpu").inputs == bare.manifest.inputs
    with pytest.raises(EngineError, match="but the model's are"):
        load_engine(replace(bare, batch=None), provider="cpu")


def external_model(location):
    """A model that adds weights from another file."""
    model = onnx.ModelProto.FromString(
        serialize(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
            {"w": np.arange(4, dtype=np.float32)},
        )
    )
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def test_weights_may_lie_in_a_second_file_of_the_bundle(tmp_path):
    parts = image_parts()
    files = {
        "model.onnx": external_model("weights.bin"),
        "weights.bin": np.arange(4, dtype=np.float32).tobytes(),
    }
    manifest = replace(
        parts.manifest,
        task="tensor",
        labels=(),
        inputs=(X,),
        outputs=(replace(X, name="y"),),
        preprocessing=None,
        golden=None,
    )
    bundle = replace(parts, manifest=manifest, files=files).write(tmp_path / "b")

    engine = load_engine(bundle, provider="cpu")

    assert engine.predict({"x": [1, 1, 1, 1]})["y"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "/etc/hostname"])
def test_weights_outside_of_the_models_folder_are_refused(location, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.onnx").write_bytes(external_model(location))

    with pytest.raises(EngineError, match=r"cannot load model\.onnx"):
        OnnxEngine(tmp_path / "in" / "model.onnx", provider="cpu")
