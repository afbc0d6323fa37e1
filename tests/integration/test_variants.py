"""The pipeline over variants on real checkpoints: what is refused and why; what a kill costs."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx
import pytest
from mlflow.tracking import MlflowClient
from onnx import helper, numpy_helper

from bundle.archive import open_bundle
from bundle.model import Model
from bundle.registry import ModelRegistry
from optimize.cache import ContentCache
from optimize.errors import MachineError
from optimize.optimizer import ModelOptimizer, Outcome
from optimize.passes.base import Calibration, Material, Tuning
from optimize.passes.export import Lane
from optimize.passes.quantize_static import QuantizeStatic, Scheme
from optimize.progress import StageProgress
from optimize.recipe import Recipe
from optimize.schema import ExportConfig, OptimizeConfig, Ranges, Target
from optimize.subject import load_subject
from optimize.workshop import Workshop
from tests.tiny_checkpoint import shared_checkpoint
from trainer.data.module import DataModule
from trainer.restore import restore

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
QUANTIZE = QuantizeStatic(scheme=Scheme.u8s8)
LENIENT = {"budget": 0.2, "agreement": 0.5, "batch_flips": 0.02}
"""So that 179 test samples are enough, and a model trained for a moment is not asked too much."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A pass of one operator on the logits."""

    learns: ClassVar[bool] = True
    name: str
    operator: str = "Identity"
    version: int = 1
    reads: bool = False
    """Whether it looks at the calibration samples."""

    def parameters(self) -> Mapping[str, Any]:
        return {"operator": self.operator, "reads": self.reads}

    def run(self, graph: bytes, material: Material) -> bytes:
        if self.reads:
            assert list(material.calibration.batches())
        if self.operator == "fail":
            raise RuntimeError("out of luck\nand of patience")
        if self.operator == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/graph.onnx")
        model = onnx.load_model_from_string(graph)
        rename(model.graph, "logits", "exact")
        model.graph.node.extend(self._nodes(model.graph))
        return bytes(model.SerializeToString(deterministic=True))

    def _nodes(self, graph: Any) -> list[Any]:
        """Rounded to sixteenths of the largest in the batch: company decides near ties."""
        if self.operator == "Unknown":
            return [helper.make_node("Unknown", ["exact"], ["logits"])]
        if self.operator == "Identity":
            return [helper.make_node("Identity", ["exact"], ["logits"])]
        constants = {"steps": np.float32(16), "zero": np.float32(0)}
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )
        if self.operator == "nan":
            return [
                helper.make_node("Mul", ["exact", "zero"], ["nothing"]),
                helper.make_node("Div", ["nothing", "zero"], ["logits"]),
            ]
        return [
            helper.make_node("Abs", ["exact"], ["sizes"]),
            helper.make_node("ReduceMax", ["sizes"], ["largest"], keepdims=0),
            helper.make_node("Div", ["largest", "steps"], ["step"]),
            helper.make_node("Div", ["exact", "step"], ["scaled"]),
            helper.make_node("Round", ["scaled"], ["rounded"]),
            helper.make_node("Mul", ["rounded", "step"], ["logits"]),
        ]


def rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def recipe(*passes: Any, name: str = "variant") -> Recipe:
    return Recipe(name=name, precision="int8", lane=Lane.torchscript, passes=passes)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return shared_checkpoint(tmp_path_factory, "images")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    """Shared by the tests, so that fp32 is exported once."""
    return str(tmp_path_factory.mktemp("cache"))


def exported(
    checkpoint: Any, settings: OptimizeConfig, *, cache: Any, folder: str, gate: Any, **options: Any
) -> Outcome:
    """Judged, and neither timed nor registered."""
    settings.cache.folder = cache
    settings.benchmark.enabled = False
    for field, value in gate.items():
        setattr(settings.gate, field, value)
    config = ExportConfig(
        checkpoint=str(checkpoint),
        output=folder,
        register=None,
        target=Target.cpu,
        optimize=settings,
    )
    return ModelOptimizer(config, progress=StageProgress(), **options).run()


@pytest.fixture
def export(digits, cache, tmp_path, monkeypatch):
    """Export the digits with these recipes."""
    monkeypatch.chdir(tmp_path)

    def run(*recipes: Recipe, folder: str = "b", gate: Any = None, **changes: Any) -> Outcome:
        return exported(
            digits,
            OptimizeConfig(**{"threads": 1, **changes}),
            cache=cache,
            folder=folder,
            gate=LENIENT if gate is None else gate,
            recipes=lambda *_: recipes,
        )

    return run


def verdict(outcome: Outcome, name: str = "variant") -> tuple[bool, str]:
    variant = outcome.bundle.manifest.variant(name)
    assert (variant.file is not None) == variant.certified
    return variant.certified, variant.gate.reason


def test_int8_is_certified_shipped_and_held_to_its_own_golden_answers(export):
    outcome = export(recipe(QUANTIZE))
    certified, reason = verdict(outcome)
    assert certified, reason
    bundle = open_bundle(outcome.bundle.path)
    assert {"fp32.onnx", "variant.onnx", "golden-variant.npz"} <= set(bundle.manifest.files)
    model = Model.load(bundle.path, variant="variant", threads=1)
    sample = {"inputs": {"image": np.zeros((1, 8, 8), dtype=np.uint8)}}
    assert model.predict(sample)["prediction"]["label"] in bundle.manifest.labels
    made = bundle.manifest.lineage["passes"]["variant"]
    export, quantize = made["steps"]
    assert (export["name"], quantize["name"]) == ("export:torchscript", QUANTIZE.name)
    assert (quantize["version"], quantize["parameters"]) == (QUANTIZE.version, {
        **QUANTIZE.parameters(), "operators": list(QUANTIZE.operators),
    })  # fmt: skip
    (source,) = made["sources"]
    assert (source["use"], source["split"], source["samples"]) == ("calibration", "train", 512)
    gate = bundle.manifest.variant("variant").gate
    assert bundle.manifest.lineage["data"]["samples"] == gate.samples
    assert (gate.budget, gate.agreement_limit, gate.batch_flips_limit) == tuple(LENIENT.values())
    page = outcome.report.read_text(encoding="utf-8")
    assert "| variant |" in page
    assert reason in page


def test_variant_is_refused_when_the_gate_has_too_few_samples(export):
    outcome = export(recipe(Changed(name="same")), max_samples=60, gate={})
    certified, reason = verdict(outcome)
    assert not certified
    assert "too few samples: 60, and certifying 0.5 pt needs 598 at 0.00% discordance" in reason
    assert outcome.bundle.manifest.default_variant == "fp32"


def test_variant_is_refused_when_company_changes_its_answers(export):
    outcome = export(recipe(Changed(name="company", operator="round")))
    certified, reason = verdict(outcome)
    assert not certified, reason
    assert "are others in a batch of 32 than alone" in reason
    assert outcome.bundle.manifest.variant("variant").gate.batch_invariant is False


def test_failed_variants_are_recorded_and_the_others_go_on(export):
    outcome = export(
        recipe(Changed(name="broken", operator="fail"), name="failing"),
        recipe(Changed(name="endless", operator="nan"), name="infinite"),
        recipe(Changed(name="same"), name="good"),
    )
    assert verdict(outcome, "failing") == (False, "failed: broken: RuntimeError: out of luck")
    assert verdict(outcome, "infinite") == (
        False,
        "not certified: an output holds NaN or infinity",
    )
    assert verdict(outcome, "good")[0]


def test_refused_graph_leaves_the_same_bytes_every_time(export):
    """ONNX Runtime's reason names the file in the scratch folder, which is another each time."""
    refused = recipe(Changed(name="odd", operator="Unknown"))
    first, second = (export(refused, folder=folder) for folder in ("first", "second"))
    _, reason = verdict(first)
    assert reason.startswith("failed: ONNX Runtime cannot load")
    assert tempfile.gettempdir() not in reason
    assert contents(first.bundle.path) == contents(second.bundle.path)


def test_full_disk_ends_the_export_and_is_no_verdict(export, tmp_path, monkeypatch):
    with pytest.raises(MachineError, match="No space left on device") as caught:
        export(recipe(Changed(name="large", operator="full")))
    assert caught.value.field == "TMPDIR"
    assert not (tmp_path / "b").exists()

    def full(*_: object) -> None:
        raise MachineError("cannot be written", field="optimize.cache.folder")

    monkeypatch.setattr(ContentCache, "_write", full)
    with pytest.raises(MachineError) as caught:
        export(recipe(Changed(name="never before")))
    assert caught.value.field == "optimize.cache.folder"


def test_variant_is_refused_when_the_data_have_changed_since_the_training(export, monkeypatch):
    monkeypatch.setattr(DataModule, "fingerprint", "0" * 64)
    certified, reason = verdict(export(recipe(Changed(name="same"))))
    assert not certified
    assert reason.startswith("not certified: the data have changed since the training")


@pytest.mark.parametrize(
    ("made_by", "reason"),
    [
        (Changed(name="careless", reads=True), "calibration samples are of split 'noise'"),
        (QUANTIZE, "calibration: the samples come from 'noise'"),
    ],
)
def test_variant_is_refused_when_it_was_calibrated_on_noise(
    made_by, reason, digits, cache, tmp_path
):
    """Whether or not the pass itself looks where its samples come from."""
    subject = load_subject(restore(digits), max_samples=None, rows=32)
    settings = OptimizeConfig(threads=1)
    vars(settings.gate).update(LENIENT)
    workshop = Workshop(
        subject,
        settings,
        provider="cpu",
        folder=tmp_path,
        cache=ContentCache(Path(cache)),
        progress=StageProgress(),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (16, 1, 8, 8), dtype=np.uint8)
    fields = {"fingerprint": "f", "samples": 16, "batches": lambda: iter([{"image": pixels}])}
    material = Material(
        calibration=Calibration(split="noise", **fields), tuning=Tuning(split="val", **fields)
    )
    candidate = workshop.maker.make(recipe(made_by), material)
    assert not candidate.certified
    assert candidate.file is None
    assert reason in candidate.verdict.result.reason


def test_finished_work_is_not_repeated(export, capfd):
    first = export(recipe(QUANTIZE), folder="first")
    capfd.readouterr()
    second = export(recipe(QUANTIZE), folder="second")
    told = capfd.readouterr().err
    assert not [word for word in ("export (", "quantize", "evaluate", "alone") if word in told]
    assert contents(first.bundle.path) == contents(second.bundle.path)
    third = export(recipe(QUANTIZE), folder="third", invariance_samples=150)
    told = capfd.readouterr().err
    assert "evaluate variant" in told  # another evaluator
    assert "quantize" not in told
    assert third.bundle.manifest.variant("variant").certified


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def command(folder: Path, digits: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "export.py"), f"checkpoint={digits}"),
        *("output=b", "target=cpu", "optimize.exporter=torchscript", "optimize.threads=1"),
        "optimize.recipes=[int8-static]",
        *(f"optimize.gate.{field}={value}" for field, value in LENIENT.items()),
        f"optimize.cache.folder={folder}/cache",
        *arguments,
    ]


@pytest.mark.slow
def test_killed_export_goes_on_where_it_was_and_ends_in_the_same_bytes(
    digits, tmp_path, tracking_uri
):
    """Two caches: nothing of the undisturbed export helps the killed one."""
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quick = ("optimize.benchmark.enabled=false", "register=false")
    for folder in (killed, undisturbed):
        folder.mkdir()
    with subprocess.Popen(
        command(killed, digits, *quick),
        cwd=killed,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("evaluate int8-static"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "b").exists()

    ended = {
        folder.name: subprocess.run(
            command(folder, digits, *quick),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        for folder in (killed, undisturbed)
    }

    assert "export (" in ended["undisturbed"]
    assert "int8-static: quantize_static" in ended["undisturbed"]
    assert "export (" not in ended["killed"]
    assert "evaluate fp32" not in ended["killed"]
    assert "int8-static: quantize_static" not in ended["killed"]
    assert "evaluate int8-static" in ended["killed"]
    assert contents(killed / "b") == contents(undisturbed / "b")
    assert open_bundle(killed / "b").manifest.variant("int8-static").certified


@pytest.mark.slow
def test_measured_export_chooses_reports_and_records(
    digits, cache, tmp_path, monkeypatch, tracking_uri
):
    monkeypatch.chdir(tmp_path)
    settings = OptimizeConfig(threads=1)
    settings.cache.folder = cache
    settings.benchmark.batch_sizes, settings.benchmark.rounds = [1, 8], 3
    settings.benchmark.seconds = 0.02
    vars(settings.gate).update(LENIENT)

    def export(folder: str) -> Outcome:
        config = ExportConfig(
            checkpoint=str(digits), output=folder, target=Target.cpu, optimize=settings
        )
        recipes = [
            recipe(QUANTIZE),
            recipe(Changed(name="broken", operator="fail"), name="no"),
        ]
        return ModelOptimizer(config, progress=StageProgress(), recipes=lambda *_: recipes).run()

    outcome = export("b")
    contest = outcome.findings.contest
    assert set(contest.timings) == {"torch fp32", "torch bf16", "fp32", "variant"}
    assert outcome.bundle.manifest.default_variant in {"fp32", "variant"}
    assert outcome.findings.baselines[1].agreement > 0.9

    folder = outcome.report.parent
    assert folder == outcome.bundle.path.with_name("b.report")
    assert {path.name for path in folder.iterdir()} == {
        *("report.md", "report.json", "frontier.png")
    }
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["benchmark"]["timings"]["variant"]["8"]["calls"] >= 3
    assert [variant["bytes"] is None for variant in report["variants"]] == [False, False, True]
    assert [variant["timed"] for variant in report["variants"]] == [True, True, False]
    assert report["benchmark"]["busy"] == contest.busy
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "other processes used" in page
    assert "failed: broken: RuntimeError: out of luck" in page
    assert "- no was not timed: it could not be made" in page

    version = ModelRegistry(tracking_uri).get("digits-mlp", 1)
    assert version.metadata["variant.variant"]["gate"]["samples"] == 179
    assert version.metadata["variant.no"]["gate"]["reason"].startswith("failed: broken")
    client = MlflowClient(tracking_uri)
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["optimize/variant/certified"] == 1.0
    assert metrics["optimize/variant/speedup_batch_8"] == pytest.approx(
        contest.timings["variant"][8].speedup
    )
    assert metrics["optimize/variant/load_of_others"] == contest.load["others"]
    assert metrics["optimize/variant/machine_busy"] == contest.busy
    assert "optimize/no/load_of_others" not in metrics
    artifacts = {item.path for item in client.list_artifacts(version.run_id, "optimize")}
    assert artifacts == {f"optimize/{path.name}" for path in folder.iterdir()}

    again = export("c")  # the measurement is kept: the choice cannot be another
    assert again.findings.contest == contest
    assert contents(again.bundle.path) == contents(outcome.bundle.path)


@pytest.mark.slow
def test_ranges_are_learned_as_the_config_says(digits, cache, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def export(ranges: Ranges, folder: str) -> bytes:
        settings = OptimizeConfig(threads=1, recipes=["int8-static"])
        settings.calibration.ranges, settings.calibration.percentile = ranges, 99.0
        outcome = exported(digits, settings, cache=cache, folder=folder, gate=LENIENT)
        assert verdict(outcome, "int8-static")[0]
        return outcome.bundle.file("int8-static.onnx").read_bytes()

    found = {export(ranges, str(ranges)) for ranges in Ranges}

    assert len(found) == len(Ranges)
    assert capfd.readouterr().out == ""
