"""Export as a user runs it: real checkpoints, real MLflow, the bundle as a server would load it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from bundle.archive import Bundle, open_bundle
from bundle.engine.select import load_engine
from bundle.errors import RegistryError
from bundle.golden import check_golden, read_samples
from bundle.model import Model
from bundle.preprocessing.select import create_preprocessor
from bundle.registry import ModelRegistry
from optimize.optimizer import ModelOptimizer
from optimize.progress import StageProgress
from optimize.schema import ExportConfig, Target
from tests.tiny_checkpoint import IMAGES, shared_checkpoint, train_tiny
from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.checkpoints.writer import CheckpointWriter
from trainer.restore import restore

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
FAST = "optimize.exporter=torchscript"
"""Where it is no matter how the graph was written: several times faster than dynamo."""
PLAIN = "target=none"
"""Where it is no matter what can be made of the model."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def bundle(self) -> Path:
        assert self.code == 0, self.err
        return Path(self.out.splitlines()[-1])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_checkpoint(tmp_path_factory, "images")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_checkpoint(tmp_path_factory, "texts")


@pytest.fixture
def export(tmp_path, monkeypatch, capfd, tracking_uri) -> Callable[..., Ended]:
    """Run the command in this process, in an empty folder."""
    import export as command

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command.main()
        out, err = capfd.readouterr()
        return Ended(ended.value.code, out, err)

    return run


@pytest.fixture(scope="module", params=["digits", "reviews"])
def checkpoint(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    config = ExportConfig(
        checkpoint=str(checkpoint), output=str(folder), register=None, target=Target.none
    )
    config.optimize.cache.folder = None
    return open_bundle(ModelOptimizer(config, progress=StageProgress()).run().bundle.path)


def test_bundle_proves_itself_as_a_server_would_check_it(bundle):
    config = bundle.manifest.preprocessing
    assert config is not None
    check_golden(bundle, load_engine(bundle), create_preprocessor(config, assets=bundle.path))
    assert bundle.manifest.golden.count == 3
    assert len(read_samples(bundle)) == 4


def test_bundle_answers_as_the_checkpoint_does(bundle, checkpoint):
    restored = restore(checkpoint)
    rows = [restored.preprocessor(sample) for sample in read_samples(bundle)]
    batch = restored.preprocessor.collate(rows)
    with torch.inference_mode():
        expected = restored.model(**{name: torch.from_numpy(a) for name, a in batch.items()})
    answer = load_engine(bundle).predict_batch(batch)["logits"]
    np.testing.assert_allclose(answer, expected.numpy(), rtol=0, atol=1e-4)
    assert bundle.manifest.labels == restored.labels
    assert bundle.manifest.preprocessing == restored.preprocessor.config


def test_manifest_says_where_the_weights_come_from_and_what_was_measured(bundle, checkpoint):
    restored, manifest = restore(checkpoint), bundle.manifest
    lineage = manifest.lineage
    sidecar = json.loads(checkpoint.with_name("best.ckpt.json").read_text(encoding="utf-8"))
    assert lineage["checkpoint"]["sha256"] == sidecar["sha256"]
    assert lineage["checkpoint"]["config_sha256"] == sidecar["config_sha256"]
    assert lineage["checkpoint"]["run_id"] == restored.metadata["run_id"]
    assert lineage["checkpoint"]["step"] == sidecar["step"]
    assert None not in (lineage["checkpoint"]["metrics"], lineage["checkpoint"]["epoch"])
    assert lineage["checkpoint"]["data_fingerprint"] == lineage["data"]["fingerprint"]
    assert lineage["export"]["opset"] == 18
    assert lineage["parity"]["max_abs_diff"] <= lineage["parity"]["tolerance"] == 1e-4
    assert lineage["parity"]["shapes"] >= 3
    assert lineage["evaluation"]["accuracy"]["torch"] == lineage["evaluation"]["accuracy"]["fp32"]
    (variant,) = manifest.variants
    assert (variant.name, variant.precision, variant.certified) == ("fp32", "fp32", True)
    assert variant.gate.samples == lineage["evaluation"]["samples"]
    assert variant.gate.agreement == 1.0
    assert variant.gate.batch_invariant is True
    assert variant.gate.bound is not None
    assert "parity" in variant.gate.reason


def test_text_bundle_carries_the_tokenizer_and_takes_the_fusible_exporter(reviews, export):
    bundle = open_bundle(export(f"checkpoint={reviews}", "register=false", PLAIN).bundle)
    assert bundle.file("tokenizer.json").read_bytes() == restore(reviews).assets["tokenizer.json"]
    assert bundle.manifest.lineage["export"]["exporter"] == "torchscript"
    prediction = Model.load(str(bundle.path)).predict({"text": "superb clever film"})
    assert prediction["prediction"]["label"] in {"good", "bad"}


def test_stdout_is_the_table_and_the_path_and_stderr_the_rest(digits, export, tmp_path):
    done = export(f"checkpoint={digits}", "output=bundles/one", PLAIN, FAST)
    *table, path = done.out.splitlines()
    assert path == str(tmp_path / "bundles" / "one")
    words = {line.split()[0] for line in table}
    assert words >= {"model", "version", "parity", "accuracy", "cache", "default"}
    assert "export (torchscript, opset 18)" in done.err
    lineage = open_bundle(done.bundle).manifest.lineage
    assert lineage["target"] == {
        "requested": "none", "actual": "none", "reason": "", "provider": "cpu",
    }  # fmt: skip


def test_export_leaves_nothing_but_the_bundle_and_the_cache(digits, export, tmp_path):
    before = set(tmp_path.iterdir())
    arguments = [f"checkpoint={digits}", "register=false", PLAIN, FAST]
    done = export(*arguments, "output=b", "optimize.cache.folder=null")
    assert set(tmp_path.iterdir()) - before == {done.bundle}
    export(*arguments, "output=c")
    assert set(tmp_path.rglob("*.entry")) == set((tmp_path / "outputs/cache").rglob("*.entry"))
    assert "notice" not in done.err


def test_bundle_is_the_same_bytes_when_exported_again(checkpoint, export):
    cold = "optimize.cache.folder=null"
    folders = [
        export(f"checkpoint={checkpoint}", f"output={name}", "register=false", PLAIN, cold).bundle
        for name in ("first", "second")
    ]
    first, second = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders
    )
    assert first == second
    assert not [name for name, content in first.items() if str(ROOT).encode() in content]


def test_latest_run_is_exported_and_linked_when_nothing_is_named(export, tracking_uri, tmp_path):
    train_tiny(tmp_path / "run", *IMAGES, "tracking=mlflow")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    bundle = open_bundle(export(PLAIN).bundle)
    assert bundle.path.parent == tmp_path / "outputs" / "bundles"
    assert bundle.manifest.lineage["checkpoint"]["run_id"] == summary["run_id"]
    version = ModelRegistry(tracking_uri).get("digits-mlp", "candidate")
    assert version.run_id == summary["run_id"]

    named = open_bundle(
        export(f"run={summary['run_id']}", "output=named", "name=other", FAST, PLAIN).bundle
    )
    assert named.manifest.name == "other"
    assert ModelRegistry(tracking_uri).get("other", 1).run_id == summary["run_id"]

    again = open_bundle(
        export("version=other/1", "output=again", "register=false", FAST, PLAIN).bundle
    )
    made_of = again.manifest.lineage["checkpoint"]
    assert made_of == named.manifest.lineage["checkpoint"]
    metrics = MlflowClient(tracking_uri).get_run(summary["run_id"]).data.metrics
    assert metrics["optimize/fp32/certified"] == 1.0
    assert metrics["optimize/fp32/agreement"] == 1.0
    version = ModelRegistry(tracking_uri).get("other", 1)
    assert not [name for name in version.metadata["metrics"] if name.startswith("optimize/")]


def test_export_is_refused_when_the_bundle_is_there_already(digits, export):
    first = export(f"checkpoint={digits}", "output=b", "register=false", "name=first", FAST, PLAIN)
    manifest = (first.bundle / "manifest.json").read_bytes()
    again = export(f"checkpoint={digits}", "output=b", "register=false", "name=second")
    assert (again.code, again.out) == (2, "")
    assert again.err.splitlines()[-1] == (
        "error: output=b exists already; choose another folder, or add overwrite=true"
    )
    assert (first.bundle / "manifest.json").read_bytes() == manifest

    export(
        f"checkpoint={digits}",
        *("output=b", "register=false", "name=second", "overwrite=true", FAST, PLAIN),
    )
    assert open_bundle(first.bundle).manifest.name == "second"


@pytest.mark.parametrize(
    "wrong", ["output=''", "output=file/below", "optimize.cache.folder=/proc/x", "name=''"]
)
def test_folder_that_cannot_be_written_is_refused_before_the_work(wrong, digits, export, tmp_path):
    (tmp_path / "file").touch()
    before = set(tmp_path.iterdir())
    done = export(f"checkpoint={digits}", "register=false", PLAIN, wrong)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(f"error: {wrong.partition('=')[0]}")
    assert "samples" not in done.err
    assert set(tmp_path.iterdir()) == before


def test_other_folder_is_never_overwritten(digits, export, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("all of it", encoding="utf-8")
    done = export(f"checkpoint={digits}", "output=b", "overwrite=true")
    assert done.code == 2
    assert "is not a bundle, so it is not overwritten" in done.err.splitlines()[-1]
    assert "export (" not in done.err  # found before the work
    assert (tmp_path / "b" / "thesis.txt").read_text(encoding="utf-8") == "all of it"


def test_nothing_is_published_when_parity_fails(digits, export, tmp_path):
    done = export(f"checkpoint={digits}", "output=b", "optimize.tolerance=0", FAST)
    assert (done.code, done.out) == (1, "")
    assert "differs from the checkpoint" in done.err.splitlines()[-1]
    assert not (tmp_path / "b").exists()


def test_nothing_is_published_when_the_weights_are_not_finite(digits, export, tmp_path):
    loaded = read_checkpoint(digits)
    next(t for name, t in loaded["state_dict"].items() if name.endswith("bias")).fill_(math.nan)
    broken = tmp_path / "broken.ckpt"
    CheckpointWriter().save_checkpoint(loaded, broken)
    done = export(f"checkpoint={broken}", "output=b", FAST)
    assert done.code == 1
    assert "NaN or infinity" in done.err.splitlines()[-1]
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "no sidecar", "text"])
def test_export_is_refused_when_the_checkpoint_is_damaged(damage, digits, export, tmp_path):
    path = tmp_path / "best.ckpt"
    shutil.copy(digits, path)
    if damage != "no sidecar":
        shutil.copy(digits.with_name("best.ckpt.json"), tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[-100:]
    elif damage == "text":
        content = bytearray(b"not a checkpoint")
    path.write_bytes(content)
    done = export(f"checkpoint={path}", "output=b")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"error: {path}")  # or of what lies beside it
    assert "Traceback" not in done.err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["checkpoint=none.ckpt"], 2, "checkpoint=none.ckpt: there is no such file"),
        (["checkpoint=http://host/best.ckpt"], 2, "checkpoint=http://host/best.ckpt is a URL"),
        (["checkpoint=a.ckpt", "run=b"], 2, "checkpoint=a.ckpt and run=b were both given"),
        (["run=a", "version=b/1"], 2, "run=a and version=b/1 were both given"),
        (["run=abc"], 2, "run=abc: there is no such run in sqlite:///"),
        (["version=a"], 2, "version=a does not name a version in the registry"),
        ([], 2, "no finished run in sqlite:///"),
        (
            ["optimize.opst=17"],
            2,
            "optimize.opst: there is no such field; did you mean optimize.opset?",
        ),
        (["optimize.batch_size=0"], 2, "optimize.batch_size=0 must be 1 or more"),
        (["target=gpu"], 2, "target: invalid value 'gpu'"),
    ],
)
def test_command_ends_with_one_line_when_it_is_wrong(arguments, code, message, export):
    done = export(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["optimize.opset=21", "optimize.exporter=torchscript"],
            "optimize.opset=21: the torchscript exporter does not support it; use optimize.opset",
        ),
        (["name=a/b"], "name='a/b' cannot name a model"),
        (["optimize.recipes=[int9]"], "there is no recipe 'int9' for target=cpu"),
        (["register=a/b"], "register='a/b' cannot name a model"),
    ],
)
def test_export_is_refused_when_the_request_cannot_be_met(arguments, message, digits, export):
    done = export(f"checkpoint={digits}", *arguments)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]


def test_notice_is_given_when_the_data_have_changed(reviews, export, tmp_path):
    table = Path(restore(reviews).config.data.root)
    before = table.read_text(encoding="utf-8")
    try:
        table.write_text(before + "a warm bright film,good\n", encoding="utf-8")
        done = export(f"checkpoint={reviews}", "register=false", "output=b", PLAIN)
    finally:
        table.write_text(before, encoding="utf-8")
    assert "notice: the data have changed since the training" in done.err
    assert done.bundle.is_dir()


def test_registry_that_cannot_be_reached_is_noticed_before_the_work(digits, export, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = export(f"checkpoint={digits}", "output=b", FAST, PLAIN)
    assert (done.code, done.out) == (1, "")
    assert "cannot be reached" in done.err
    assert len(done.err.splitlines()) == 1


def test_bundle_stays_when_the_registry_fails_and_is_registered_by_the_same_command(
    digits, export, monkeypatch
):
    def fail(*_: object, **__: object) -> None:
        raise RegistryError("the registry failed")

    with monkeypatch.context() as patched:
        patched.setattr(ModelRegistry, "register", fail)
        done = export(f"checkpoint={digits}", "output=b", FAST, PLAIN)
    assert (done.code, done.out) == (1, "")
    assert "is complete, but not registered" in done.err.splitlines()[-2]
    made = open_bundle("b")
    assert export(f"checkpoint={digits}", "output=b", FAST, PLAIN).bundle == made.path
    assert len(ModelRegistry().versions("digits-mlp")) == 1


KILLED_AT = """
import os, signal, sys
import optimize.optimizer, export
setattr(optimize.optimizer, sys.argv.pop(1), lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
export.main()
"""


@pytest.mark.parametrize("step", ["register", "record"])
def test_export_killed_after_its_bundle_was_written_is_finished_by_the_same_command(
    step, digits, export, tmp_path, tracking_uri
):
    arguments = (f"checkpoint={digits}", "output=b", FAST, PLAIN)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, step, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = (open_bundle("b").path / "manifest.json").read_bytes()

    done = export(*arguments)

    assert (done.bundle / "manifest.json").read_bytes() == before
    (version,) = ModelRegistry(tracking_uri).versions("digits-mlp")
    metrics = MlflowClient(tracking_uri).get_run(version.run_id).data.metrics
    assert metrics["optimize/fp32/certified"] == 1.0
    assert ("is version 1 of digits-mlp already" in done.err) == (step == "record")
    export(*arguments, "overwrite=true")
    assert len(ModelRegistry(tracking_uri).versions("digits-mlp")) == 1


def test_other_bundle_of_the_checkpoint_is_not_replaced_unasked(digits, export):
    common = (f"checkpoint={digits}", "output=b", "register=false", FAST, PLAIN)
    before = (export(*common).bundle / "manifest.json").read_bytes()
    done = export(*common, "optimize.golden.samples=2")
    assert done.code == 2
    assert "output=b holds another bundle of this checkpoint" in done.err.splitlines()[-1]
    assert Path("b/manifest.json").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir() if "b." in path.name) == []


@pytest.mark.slow
def test_interrupted_export_leaves_nothing_behind(digits, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "export.py"),
            f"checkpoint={digits}",
            "output=b",
            "register=false",
        ],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("export ("):
            process.send_signal(signal.SIGTERM)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert out == ""
    assert "stopped by SIGTERM" in err.splitlines()[-1]
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix != ".entry"] == []
    assert not [path for path in scratch.iterdir() if path.name.startswith("trainyard-")]
