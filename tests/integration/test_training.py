"""train.py as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from trainer.checkpoints.checkpoint import verify_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DIGITS = (
    *("data=digits", "model=mlp", "trainer.max_epochs=1", "trainer.threads=1"),
    "trainer.report=false",
)


@pytest.fixture
def command(tmp_path, empty_registry):
    """Runs train.py in an empty folder; stdout and stderr are kept apart."""
    (tmp_path / "mlflow.db").write_bytes(empty_registry.read_bytes())
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["model=resnet99"], 2, "choose one of: bert, bert_tiny, mlp"),
        (["trainer.devics=2"], 2, "did you mean trainer.devices?"),
        (["resume=missing.ckpt"], 2, "resume=missing.ckpt"),
        (
            ["tracking.uri=http://127.0.0.1:1", "tracking.when_away=fail"],
            2,
            "tracking.when_away=spool",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_command_ends_in_one_clear_line_when_it_is_wrong(command, arguments, code, words):
    done = command(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_command_says_what_to_type_when_there_are_no_gpus(command):
    done = command("model=bert", "trainer.devices=8")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: trainer.devices=8, but 0 GPUs were found (torch {torch.__version__});"
        " use trainer.accelerator=cpu trainer.devices=2 to simulate\n"
    )


def test_command_refuses_a_corrupt_checkpoint(command, tmp_path):
    assert command(*DIGITS, "tracking=none", "hydra.run.dir=first").returncode == 0
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-7])
    done = command(*DIGITS, "tracking=none", f"resume={path}", "hydra.run.dir=second")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "second" / "summary.json").read_text())["status"] == "failed"


def test_command_leaves_what_the_surface_promises(command, tmp_path):
    done = command(*DIGITS, "trainer.report=true", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    promised = {"status", "run_id", "best_checkpoint", "last_checkpoint", "steps", "metrics"}
    assert promised <= set(summary)
    assert summary["status"] == "finished"
    assert (tmp_path / "run" / "config.yaml").is_file()
    assert "test/accuracy" in done.stdout
    assert "epoch 1/1" in done.stderr
    assert "epoch 1/1" in (tmp_path / "run" / "train.log").read_text()
    noise = ("Warning", "💡", "GPU available", "HPU")
    assert not [word for word in noise if word in done.stderr]

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run(summary["run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "digits-mlp"
    tags = run.data.tags
    assert {"git_commit", "git_dirty", "data_fingerprint", "version.torch"} <= set(tags)
    assert {"host.hostname", "host.torch_threads", "version.python"} <= set(tags)
    stored = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "summary.json", "metrics.csv", "pictures", "checkpoints"} <= stored
    assert {"report.html", "predictions.npz", "environment.json"} <= stored
    copy = client.download_artifacts(run.info.run_id, "checkpoints", str(tmp_path))
    assert verify_checkpoint(Path(copy) / "best.ckpt")


def test_command_lists_groups_and_fields_when_asked_for_help(command):
    done = command("--help")
    assert done.returncode == 0
    for word in ("model: ", "resnet_tiny", "max_epochs: 15", "hydra.run.dir"):
        assert word in done.stdout


def test_sweep_gives_each_job_its_folder_and_its_run(command, tmp_path):
    done = command("-m", "seed=1,2", *DIGITS)
    assert done.returncode == 0, done.stderr
    summaries = sorted(tmp_path.glob("outputs/*/*/*/summary.json"))
    assert [path.parent.name for path in summaries] == ["0", "1"]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = [client.get_run(json.loads(path.read_text())["run_id"]) for path in summaries]
    assert [run.data.params["seed"] for run in runs] == ["1", "2"]
    assert len({run.data.tags["sweep"] for run in runs}) == 1


def test_sweep_goes_on_when_a_job_fails(command, tmp_path):
    done = command("-m", "data.root=missing", "data=image_folder,digits", *DIGITS[1:])
    assert done.returncode == 2
    done = command("-m", "model.hidden=[0],[4]", *DIGITS, "tracking=none", "hydra.sweep.dir=sweep")
    assert done.returncode == 2
    assert "job 0: model.hidden=[0]" in done.stderr
    assert "Traceback" not in done.stderr
    status = [
        json.loads((tmp_path / "sweep" / job / "summary.json").read_text())["status"]
        for job in "01"
    ]
    assert status == ["failed", "finished"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_command_saves_and_says_so_when_it_is_stopped(tmp_path, signum, code):
    arguments = [*DIGITS[:2], "trainer.max_epochs=100000", "tracking=none", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    try:
        while not last.with_suffix(".ckpt.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signum)
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert verify_checkpoint(last)["step"] == summary["steps"]


def test_wrong_configs_are_answered_without_torch():
    code = "import sys, trainer.command; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_importing_the_trainer_leaves_heavy_optional_parts_alone():
    heavy = [
        "mlflow", "pandas", "sklearn", "datasets", "onnx", "onnxruntime",
        "scipy", "matplotlib", "transformers",
    ]  # fmt: skip
    code = f"import sys, trainer.run; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("arguments", "accuracy"),
    [
        pytest.param([], 0.975, id="mnist", marks=pytest.mark.soak),
        pytest.param(["data=digits"], 0.98, id="digits", marks=pytest.mark.soak),
        pytest.param(["model=bert"], 0.95, id="bbc_news", marks=pytest.mark.soak),
    ],
)
def test_default_recipes_reach_their_accuracy(command, tmp_path, arguments, accuracy):
    done = command(*arguments, "tracking=none", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["test/accuracy"] >= accuracy
