from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bundle.engine import onnx
from bundle.engine.openvino import openvino_missing
from bundle.engine.plan import PlanKey
from bundle.engine.profile import ShapeProfile, Span
from bundle.errors import InputError
from bundle.tensor import TensorSpec
from optimize.contestant import Contestant, Kind, load
from optimize.passes.tensorrt import TensorRTPass
from tests.simulated_tensorrt import SimulatedTensorRT
from tests.tiny_bundle import IMAGE, image_model, tensor_model, text_model

SHAPE = (IMAGE.channels, IMAGE.height, IMAGE.width)
PROFILE = ShapeProfile.of(
    [TensorSpec(name="image", dtype="uint8", shape=(-1, *SHAPE))],
    batch=Span.up_to(4, best=2),
    length=Span.up_to(1, best=1),
)


@pytest.mark.skipif(openvino_missing() is not None, reason="OpenVINO is not installed")
def test_contestant_is_refused_when_openvino_takes_other_threads(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model())
    contestant = Contestant(
        name="c", kind=Kind.openvino, path=tmp_path / "m.onnx", sha256="", provider="openvino"
    )
    load(contestant, threads=1)
    with pytest.raises(RuntimeError, match=r"OpenVINO has \d+ threads instead of 10000"):
        load(contestant, threads=10_000)


def test_plan_is_loaded_and_runs_what_it_was_built_for(tmp_path, monkeypatch):
    SimulatedTensorRT(monkeypatch)
    names = ("input_ids", "attention_mask")
    profile = ShapeProfile.of(
        [TensorSpec(name=name, dtype="int64", shape=(-1, -1)) for name in names],
        batch=Span.up_to(4, best=2),
        length=Span.up_to(6, best=2),
    )
    key = PlanKey.here()
    plan = tmp_path / key.file_name("trt")
    plan.write_bytes(TensorRTPass(key=key, profile=profile).build(text_model()))

    run = load(
        Contestant(name="trt", kind=Kind.plan, path=plan, sha256="", provider="tensorrt"), threads=1
    )

    def batch(rows, length):
        return dict.fromkeys(names, np.ones((rows, length), np.int64))

    assert run(batch(9, 6))["logits"].shape == (9, 3)  # in pieces of 4, as the profile has it
    with pytest.raises(InputError, match=r"has shape \[1, 7\], but the plan takes"):
        run(batch(1, 7))


def test_onnx_runtimes_tensorrt_has_the_profile_and_the_caches_of_serving(tmp_path, monkeypatch):
    asked = {}

    class Spy(onnx.OnnxEngine):
        def __init__(self, path, **options):
            asked.update(options)
            super().__init__(path, provider="cpu", threads=1)

    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(onnx, "OnnxEngine", Spy)
    (tmp_path / "m.onnx").write_bytes(image_model())
    contestant = Contestant(
        name="c", kind=Kind.onnx, path=tmp_path / "m.onnx", sha256="a" * 64,
        provider="tensorrt", profile=PROFILE,
    )  # fmt: skip

    load(Contestant.from_dict(json.loads(json.dumps(contestant.to_dict()))), threads=1)

    assert asked["cache"] == tmp_path / "cache" / "tensorrt" / ("a" * 16)
    assert asked["timings"] == tmp_path / "cache" / "tensorrt"
    assert asked["profile"].provider_options() == PROFILE.provider_options()
    assert asked["max_batch_size"] == 4


def test_contestant_is_the_same_in_another_process():
    for profile in (None, PROFILE):
        one = Contestant(
            name="c", kind=Kind.onnx, path=Path("/m.onnx"), sha256="a", profile=profile
        )
        other = Contestant.from_dict(json.loads(json.dumps(one.to_dict())))
        assert (other.identity(), other.path) == (one.identity(), one.path)
