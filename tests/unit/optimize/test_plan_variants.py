"""Exports for TensorRT: plans among the variants, and what takes their place elsewhere."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from bundle.archive import open_bundle
from bundle.engine.plan import PlanKey, plans_missing
from bundle.engine.profile import ShapeProfile
from bundle.engine.select import choose_variant
from bundle.engine.tensorrt import TensorRTEngine
from bundle.model import Model
from optimize import measure, variants, workshop
from optimize.errors import MachineError, ParityError
from optimize.optimizer import ModelOptimizer, Outcome
from optimize.progress import StageProgress
from optimize.proof import compare_shapes
from optimize.recipe import IMAGE, recipes_for
from optimize.report import report
from optimize.schema import ExportConfig, OptimizeConfig, Target, TensorRTConfig
from optimize.timing import Contest, summarize
from optimize.variants import VariantMaker
from tests.simulated_tensorrt import MARK, SimulatedTensorRT
from tests.tiny_checkpoint import shared_checkpoint

SLUG = "trt11.1.0.106-sm90-nvidia-h100-80gb-hbm3"
FILE = f"fp16-tensorrt-{SLUG}.plan"


@pytest.fixture
def export(tmp_path, tmp_path_factory, monkeypatch):
    """Export for TensorRT with these of its recipes; `faster`: what wins the benchmark."""
    monkeypatch.chdir(tmp_path)

    def run(
        *names: str, faster: str | None = None, folder: str = "b", kind: str = "images"
    ) -> Outcome:
        settings = OptimizeConfig(threads=1, recipes=list(names) or None)
        settings.cache.folder = "cache"
        settings.gate.budget, settings.gate.agreement, settings.gate.batch_flips = 0.2, 0.5, 0.02
        settings.benchmark.enabled = faster is not None
        monkeypatch.setattr(measure, "run_contest", won_by(faster))
        config = ExportConfig(
            checkpoint=str(shared_checkpoint(tmp_path_factory, kind)),
            output=folder,
            register=None,
            target=Target.tensorrt,
            optimize=settings,
        )
        return ModelOptimizer(config, progress=StageProgress()).run()

    return run


def won_by(faster: str | None):
    """A benchmark in which everyone is as fast as the baseline, but for one."""

    def contest(contestants, batches, settings, *, baseline, apart, **_) -> Contest:
        contest.seen = {each.name: each for each in contestants}
        turns = {
            each.name: dict.fromkeys(batches, [[1 if each.name == faster else 3] * 9] * 2)
            for each in contestants
        }
        return Contest(
            threads=1,
            rounds=2,
            baseline=baseline,
            timings=summarize(turns, baseline=baseline, apart=apart),
            failed={},
            load={"others": 0.0, "cores": 2},
            apart=apart,
        )

    return contest


def test_plan_is_a_variant_beside_the_graph_that_it_was_built_of(export, monkeypatch, capfd):
    tensorrt = SimulatedTensorRT(monkeypatch)

    outcome = export("fp16", "fp16-tensorrt", faster="fp16-tensorrt")

    bundle = open_bundle(outcome.bundle.path)
    plan, graph = bundle.manifest.variant("fp16-tensorrt"), bundle.manifest.variant("fp16")
    assert (plan.format, plan.precision, plan.file) == ("tensorrt", "fp16", FILE)
    assert plan.certified, plan.gate.reason
    assert plan.gate.samples == graph.gate.samples
    content = bundle.file(FILE).read_bytes()
    assert content.startswith(MARK)
    assert content.endswith(bundle.file("fp16.onnx").read_bytes())
    made = bundle.manifest.lineage["passes"]["fp16-tensorrt"]
    assert [step["name"] for step in made["steps"]] == ["export:dynamo", "float16", "tensorrt"]
    built = made["steps"][-1]["parameters"]
    assert (built["workspace_mb"], built["profile"]["image"][2]) == (4096, [64, 1, 8, 8])
    assert made["plan"] == {
        "tensorrt": "11.1.0.106", "gpu": "NVIDIA H100 80GB HBM3", "capability": "9.0",
    }  # fmt: skip
    target = bundle.manifest.lineage["target"]
    assert (target["actual"], target["provider"]) == ("tensorrt", outcome.findings.target.provider)
    if outcome.findings.target.elsewhere:
        told = f"tensorrt (asked for: tensorrt), graphs judged on {target['provider']}"
        assert told in report(outcome)
        assert told in outcome.report.read_text(encoding="utf-8")
    assert ["image", (1, 1, 8, 8), (8, 1, 8, 8), (64, 1, 8, 8)] in tensorrt.calls("set_shape")
    assert "notice" not in capfd.readouterr().err

    # What it was chosen for, and by which engine it was timed.
    assert bundle.manifest.default_variant == "fp16-tensorrt"
    contestant = measure.run_contest.seen["fp16-tensorrt"]
    assert (contestant.kind, contestant.path.name.endswith(f"-{SLUG}.plan")) == ("plan", True)
    (row,) = [
        each
        for each in json.loads(outcome.report.with_suffix(".json").read_text())["variants"]
        if each["name"] == "fp16-tensorrt"
    ]
    assert (row["format"], row["certified"]) == ("tensorrt", True)


def test_texts_of_every_length_are_asked_of_plans_in_every_precision(export, monkeypatch):
    tensorrt = SimulatedTensorRT(monkeypatch)

    candidates = export(kind="texts").findings.candidates

    plans = {each.precision: each for each in candidates if each.format == "tensorrt"}
    assert set(plans) == {"fp32", "fp16", "int8"}
    for plan in plans.values():
        assert plan.graph.plan == PlanKey.here()
        assert plan.verdict.result.agreement is not None, plan.verdict.result.reason
    shapes = [(1, 1), (8, 16), (64, 16)]
    assert tensorrt.calls("set_shape") == [
        [name, *shapes] for _ in plans for name in ("input_ids", "attention_mask")
    ]


def test_export_of_each_exporter_is_compared_before_plans_are_built_of_it(export, monkeypatch):
    """Texts are exported twice: fp32.onnx is not what TensorRT is given."""
    SimulatedTensorRT(monkeypatch)
    compared = []

    def compare(subject, identity, load, **options):
        compared.append(identity["graph"])
        if len(compared) > 1:
            raise ParityError("the exported model differs from the checkpoint by 7")
        return compare_shapes(subject, identity, load, **options)

    monkeypatch.setattr(workshop, "compare_shapes", compare)

    fp32, plan = export("fp32-tensorrt", kind="texts").findings.candidates

    assert len(set(compared)) == 2
    assert fp32.certified
    assert plan.verdict.result.reason == (
        "failed: the exported model differs from the checkpoint by 7"
    )


def test_gpu_without_memory_is_no_verdict(export, monkeypatch):
    SimulatedTensorRT(monkeypatch, memory=64)
    with pytest.raises(MachineError, match="fp16-tensorrt: the memory is not enough: CUDA: out of"):
        export("fp16-tensorrt")


def test_assessment_of_a_plan_is_tensorrts_whatever_runs_the_graphs(monkeypatch):
    maker = SimpleNamespace(_provider="cpu")
    key = PlanKey(tensorrt="11", gpu="A", capability="8")
    for plan, provider in ((key, "tensorrt"), (None, "cpu")):
        graph = SimpleNamespace(sha256="a", plan=plan)
        assert VariantMaker.identity(maker, graph) == {"graph": "a", "provider": provider}


def test_assessment_in_tensorrt_is_of_the_profile_that_its_engine_is_built_for():
    def identity(most: int):
        subject = SimpleNamespace(
            profile=lambda max_batch_size: ShapeProfile(
                shapes={"x": ((1,), (1,), (max_batch_size,))}
            )
        )
        settings = OptimizeConfig(tensorrt=TensorRTConfig(max_batch_size=most))
        maker = VariantMaker.__new__(VariantMaker)
        maker._subject, maker._settings, maker._provider = subject, settings, "tensorrt"
        return maker.identity(SimpleNamespace(sha256="a", plan=None))

    assert identity(8) == identity(8) != identity(64)


def test_graphs_in_onnx_runtimes_tensorrt_have_the_profile_and_caches_of_serving(
    tmp_path, monkeypatch
):
    asked = {}
    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path))
    monkeypatch.setattr(variants, "OnnxEngine", lambda path, **options: asked.update(options))
    subject = SimpleNamespace(profile=lambda max_batch_size: f"up to {max_batch_size}")
    settings = OptimizeConfig(threads=1)
    settings.tensorrt.max_batch_size = 16
    maker = VariantMaker(
        subject, settings, forge=None, assessor=None, reference=None, compare=None,
        provider="tensorrt",
    )  # fmt: skip
    graph = SimpleNamespace(path=tmp_path / "m.onnx", sha256="a" * 64, plan=None)

    maker.engine(graph)
    assert asked == {
        "provider": "tensorrt", "threads": 1, "max_batch_size": 16, "profile": "up to 16",
        "cache": tmp_path / "tensorrt" / ("a" * 16), "timings": tmp_path / "tensorrt",
    }  # fmt: skip

    asked.clear()
    maker.engine(graph, provider="cpu")
    assert asked == {"provider": "cpu", "threads": 1}


def test_server_takes_the_plan_where_it_was_built_and_the_graph_elsewhere(export, monkeypatch):
    with monkeypatch.context() as gpu:
        SimulatedTensorRT(gpu)
        bundle = export("fp16", "fp16-tensorrt", faster="fp16-tensorrt").bundle
        assert choose_variant(bundle).variant == "fp16-tensorrt"
        assert isinstance(Model.load(bundle.path).engine, TensorRTEngine)
        gpu.setattr(PlanKey, "here", lambda: PlanKey(tensorrt="11.2", gpu="A", capability="8.0"))
        assert "was not built for this machine" in choose_variant(bundle).reason

    if plans_missing() is None:
        pytest.skip("this machine has TensorRT")
    choice = choose_variant(bundle)
    assert choice.variant == "fp16"
    assert "TensorRT cannot be imported" in choice.reason
    assert Model.load(bundle.path, threads=1).engine.name == "onnxruntime"


def test_timings_are_kept_with_the_finished_work_and_plans_are_not_built_again(
    export, monkeypatch, tmp_path
):
    tensorrt = SimulatedTensorRT(monkeypatch)

    export("fp16-tensorrt", folder="first")
    timings = tmp_path / "cache" / "tensorrt" / f"{SLUG}.timings"
    assert timings.read_bytes() == b"timed"
    export("fp16-tensorrt", folder="second")
    assert len(tensorrt.calls("build_serialized_network")) == 1

    export("fp32-tensorrt", folder="third")
    assert tensorrt.calls("create_timing_cache") == [[b""], [b"timed"]]


def test_plan_that_cannot_be_built_is_a_reason_and_the_others_go_on(export, monkeypatch):
    def fail(network, config):
        tensorrt.module.logger.log(0, "no implementation for node /Gemm")

    tensorrt = SimulatedTensorRT(monkeypatch, build_serialized_network=fail)

    manifest = export().bundle.manifest

    assert {each.name for each in manifest.variants} == {
        "fp32", *(each.name for each in recipes_for(target=Target.tensorrt, task=IMAGE))
    }  # fmt: skip
    for variant in manifest.variants:
        assert variant.certified == (variant.format == "onnx"), variant.gate.reason
        if variant.format == "tensorrt":
            assert variant.file is None
            assert variant.gate.reason == (
                "failed: tensorrt: TensorRT cannot build a plan: no implementation for node /Gemm"
            )


def test_other_generation_of_tensorrt_makes_no_plans_and_says_so(export, monkeypatch, capfd):
    SimulatedTensorRT(monkeypatch).module.__version__ = "10.16.1"

    outcome = export("int8-static")

    assert "notice: target=tensorrt cannot be had here" in capfd.readouterr().err
    assert "TensorRT 10.16.1 is installed, but 11.x is needed" in report(outcome)


@pytest.mark.skipif(plans_missing() is None, reason="this machine has TensorRT")
def test_graphs_take_the_place_of_plans_where_there_is_no_tensorrt(export, capfd):
    assert "tensorrt" not in sys.modules

    outcome = export("int8-static", faster="int8-static")

    assert "notice: target=tensorrt cannot be had here, cpu instead: " in capfd.readouterr().err
    manifest = outcome.bundle.manifest
    assert (manifest.default_variant, manifest.variant("int8-static").format) == (
        "int8-static",
        "onnx",
    )
    target = manifest.lineage["target"]
    assert (target["requested"], target["actual"]) == ("tensorrt", "cpu")
    told = f"cpu (asked for: tensorrt, but {target['reason']})"
    assert "TensorRT cannot be imported" in told
    assert told in report(outcome)
    assert told in outcome.report.read_text(encoding="utf-8")
