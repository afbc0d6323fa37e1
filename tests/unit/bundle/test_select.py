"""Which variant and which engine a bundle gets on a machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from bundle.engine import select
from bundle.engine.availability import provider_missing
from bundle.engine.onnx import OnnxEngine
from bundle.engine.openvino import openvino_missing
from bundle.engine.plan import PlanKey, plans_missing
from bundle.engine.profile import Span
from bundle.engine.providers import ProviderSettings, built_in, request
from bundle.engine.select import choose_variant, load_engine, shape_profile
from bundle.errors import EngineError, RequestError
from bundle.manifest import Variant
from bundle.model import Model
from tests.tiny_bundle import image_parts, text_parts

KEY = PlanKey(tensorrt="11.1.0.106", gpu="NVIDIA H100 80GB HBM3", capability="9.0")
PLAN = Variant(name="trt", file=KEY.file_name("trt"), format="tensorrt", precision="fp16")


@pytest.fixture
def planned(tmp_path):
    """A bundle whose default is a plan for an H100, with fp32 and a certified variant beside it."""
    parts = image_parts()
    (fp32,) = parts.manifest.variants
    better = replace(fp32, name="better", file="better.onnx", certified=True)
    manifest = replace(
        parts.manifest, variants=(fp32, better, PLAN), default_variant="trt", golden=None
    )
    files = {
        "model.onnx": parts.files["model.onnx"],
        "better.onnx": parts.files["model.onnx"],
        PLAN.file: b"a plan",
    }
    return replace(parts, manifest=manifest, files=files).write(tmp_path / "planned")


def test_default_that_is_onnx_is_taken(image_bundle):
    choice = choose_variant(image_bundle)

    assert (choice.variant, choice.reason) == ("fp32", None)


def test_plan_without_tensorrt_gives_way_to_the_certified_onnx_variant(planned):
    if plans_missing() is None:
        pytest.skip("this machine has TensorRT")

    choice = choose_variant(planned)

    assert choice.variant == "better"
    assert "TensorRT cannot be imported" in choice.reason
    answer = Model.load(planned.path, threads=1).predict({"inputs": {"image": [[[0] * 5] * 6] * 3}})
    assert answer["prediction"]["label"]


def test_plan_of_another_machine_gives_way_too(planned, monkeypatch):
    monkeypatch.setattr(PlanKey, "here", lambda: replace(KEY, capability="8.0"))

    choice = choose_variant(planned, provider="tensorrt")

    assert choice.variant == "better"
    assert "was not built for this machine" in choice.reason


@pytest.mark.parametrize(
    ("certified", "target", "taken"),
    [
        (True, {"provider": "cpu"}, "half"),
        (False, {"provider": "cpu"}, "better"),
        (True, {"provider": "tensorrt"}, "better"),
        (True, {"provider": "cuda"}, "better"),
        (True, {}, "better"),
        (True, None, "better"),
    ],
)
def test_plan_gives_way_to_its_own_precision_where_that_was_certified(
    certified, target, taken, planned
):
    """float16 and S8S8 that were judged on a GPU are slow on a CPU, and may answer otherwise."""
    fp32, better, plan = planned.manifest.variants
    half = replace(better, name="half", precision="fp16", certified=certified)
    manifest = replace(
        planned.manifest, variants=(fp32, better, half, plan), lineage={"target": target}
    )

    choice = choose_variant(replace(planned, manifest=manifest), provider="cpu")

    assert choice.variant == taken


@pytest.mark.parametrize(("missing", "taken"), [("no driver", "better"), (None, "half")])
def test_provider_auto_counts_as_what_it_will_be_here(missing, taken, planned, monkeypatch):
    fp32, better, plan = planned.manifest.variants
    half = replace(better, name="half", precision="fp16")
    manifest = replace(
        planned.manifest,
        variants=(fp32, better, half, plan),
        lineage={"target": {"provider": "cuda"}},
    )
    gpu = {"cuda": missing}
    monkeypatch.setattr(select, "provider_missing", gpu.get)
    monkeypatch.setattr(PlanKey, "here", lambda: replace(KEY, capability="8.0"))

    assert choose_variant(replace(planned, manifest=manifest)).variant == taken


@pytest.mark.parametrize("provider", ["auto", "tensorrt"])
def test_plan_of_this_machine_is_taken(provider, planned, monkeypatch):
    monkeypatch.setattr(PlanKey, "here", lambda: KEY)

    assert choose_variant(planned, provider=provider).variant == "trt"


def test_plan_gives_way_where_another_provider_is_asked_for(planned, monkeypatch):
    monkeypatch.setattr(PlanKey, "here", lambda: KEY)

    choice = choose_variant(planned, provider="cpu")

    assert choice.variant == "better"
    assert "provider=cpu" in choice.reason


def test_named_plan_is_never_replaced(planned):
    assert choose_variant(planned, variant="trt").variant == "trt"
    with pytest.raises(RequestError, match="which provider=cpu cannot run"):
        load_engine(planned, variant="trt", provider="cpu")
    if plans_missing() is not None:
        with pytest.raises(EngineError, match="TensorRT cannot be imported"):
            load_engine(planned, variant="trt", provider="auto")


def test_bundle_of_nothing_but_a_plan_is_an_error_where_it_does_not_run(planned, tmp_path):
    if plans_missing() is None:
        pytest.skip("this machine has TensorRT")
    parts = image_parts()
    manifest = replace(parts.manifest, variants=(PLAN,), default_variant="trt", golden=None)
    bundle = replace(parts, manifest=manifest, files={PLAN.file: b"a plan"}).write(tmp_path / "b")

    with pytest.raises(EngineError, match="TensorRT cannot be imported"):
        choose_variant(bundle)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_provider_that_does_not_run_is_an_error_or_a_declared_fallback(provider, image_bundle):
    if provider_missing(provider) is None or (provider, openvino_missing()) == ("openvino", None):
        pytest.skip("this machine has it")

    with pytest.raises(EngineError, match=provider) as found:
        load_engine(image_bundle, provider=provider)
    assert "provider=cpu" in found.value.remedy
    engine = load_engine(image_bundle, provider=provider, fallback=True)

    assert (engine.requested, engine.provider) == (provider, "cpu")
    assert engine.fallback_reason


def profile(manifest, *, max_batch_size):
    return shape_profile(manifest.inputs, manifest.preprocessing, max_batch_size=max_batch_size)


def test_tensorrt_profile_has_the_sizes_that_the_model_will_meet(tmp_path):
    text, image = text_parts().manifest, image_parts().manifest

    assert profile(text, max_batch_size=32).provider_options() == {
        "trt_profile_min_shapes": "input_ids:1x1,attention_mask:1x1",
        "trt_profile_opt_shapes": "input_ids:8x8,attention_mask:8x8",
        "trt_profile_max_shapes": "input_ids:32x8,attention_mask:32x8",
    }
    assert profile(image, max_batch_size=4).shapes == {
        "image": ((1, 3, 6, 5), (4, 3, 6, 5), (4, 3, 6, 5))
    }


@pytest.mark.parametrize("sizes", [(0, 1, 2), (1, 3, 2), (2, 1, 3)])
def test_span_that_cannot_be_is_refused(sizes):
    least, best, most = sizes
    with pytest.raises(RequestError, match=f"from {least} to {most}"):
        Span(least=least, best=best, most=most)


def test_tensorrt_keeps_the_engines_of_each_model_apart(image_bundle, tmp_path, monkeypatch):
    """ONNX Runtime names an engine by the graph's structure: other weights, the same name."""
    asked = {}

    class Spy(OnnxEngine):
        def __init__(self, path, **options):
            asked.update(options)
            super().__init__(path, provider="cpu", threads=1)

    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(select, "OnnxEngine", Spy)
    load_engine(image_bundle, provider="tensorrt", max_batch_size=16)

    digest = hashlib.sha256((image_bundle.path / "model.onnx").read_bytes()).hexdigest()
    assert asked["cache"] == tmp_path / "cache" / "tensorrt" / digest[:16]
    assert asked["cache"].is_dir()
    assert asked["timings"] == tmp_path / "cache" / "tensorrt"
    assert asked["profile"].shapes["image"][2][0] == 16


def test_providers_are_asked_for_by_their_documented_options(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.engine.providers.built_in", lambda provider: True)
    shapes = profile(text_parts().manifest, max_batch_size=2)
    settings = ProviderSettings(
        threads=3, stream=77, cache=tmp_path / "c", timings=tmp_path, profile=shapes
    )

    (tensorrt, trt), (cuda, gpu), (cpu, none) = request("tensorrt", settings)

    names = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert (tensorrt, cuda, cpu) == names
    assert trt == {
        "device_id": "0",
        "user_compute_stream": "77",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path / "c"),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(tmp_path),
        **shapes.provider_options(),
    }
    assert gpu == {"device_id": "0", "user_compute_stream": "77"}
    assert none == {}
    assert built_in("cpu")
