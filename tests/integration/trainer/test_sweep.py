"""Real sweeps: `train.py sweep=optuna` in processes of its own, on real digits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 240
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class SweepCommand:
    """The command that starts a sweep in a folder, and goes on with it when started again."""

    def __init__(self, cwd: Path, *overrides: str) -> None:
        self.cwd = cwd
        self.folder = cwd / "sweep"
        fixed = ["sweep=optuna", "data=digits", "data.batch_size=256", "model=mlp"]
        fixed += ["model.hidden=[16]", "trainer.threads=1", "trainer.report=false"]
        fixed += ["hydra.sweep.dir=sweep"]
        self.argv = [sys.executable, str(ROOT / "train.py"), "-m", *fixed, *overrides]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv, cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *, code: int = 0) -> tuple[str, str]:
        process = self.start()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, err
        return out, err

    def until_written(self, process: subprocess.Popen[str], path: str) -> None:
        """Wait for a file of the sweep."""
        until = time.monotonic() + PATIENCE
        while not (self.folder / path).exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.02)

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.folder / "sweep.json").read_text())
        return summary


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_sweep_goes_on_without_repeating_when_it_was_killed(tmp_path: Path) -> None:
    command = SweepCommand(
        tmp_path,
        "tracking=none",
        "trainer.max_epochs=12",
        "sweep.trials=2",
        "optim.lr=tag(log, interval(1e-3, 1e-2))",
    )
    process = command.start()
    command.until_written(process, "trials/0001/checkpoints/best.ckpt")
    process.kill()
    process.communicate()
    first = contents(command.folder / "trials/0000")

    _, err = command.run()
    assert "1 of 2 trials have ended, 1 were interrupted" in err
    assert contents(command.folder / "trials/0000") == first
    summary = command.summary()
    assert summary["status"] == "finished"
    assert summary["counts"]["complete"] == summary["counts"]["all"] == 2
    config = (command.folder / "trials/0001/config.yaml").read_text()
    assert f"lr: {summary['trials'][1]['params']['optim.lr']}" in config


@pytest.mark.soak
def test_sweep_leaves_143_and_no_process_when_terminated(tmp_path: Path) -> None:
    command = SweepCommand(
        tmp_path, "tracking=none", "trainer.max_epochs=2000", "optim.lr=interval(1e-3, 1e-2)"
    )
    process = command.start()
    command.until_written(process, "trials/0000/checkpoints/best.ckpt")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert "the same command with hydra.sweep.dir=sweep goes on" in err
    summary = command.summary()
    assert summary["status"] == "stopped"
    assert summary["counts"] | {"interrupted": 1, "all": 1} == summary["counts"]
    trained = json.loads((command.folder / "trials/0000/summary.json").read_text())
    assert trained["status"] != "running"
    running = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    assert str(command.folder) not in running.stdout


@pytest.mark.soak
def test_sweep_records_failed_and_pruned_trials_and_finds_the_best(
    tmp_path: Path, tracking_uri: str
) -> None:
    command = SweepCommand(
        tmp_path,
        "sweep/sampler=grid",
        "sweep.sampler.seed=5",  # in this order: good, hopeless, failing
        "sweep.pruner.startup=1",
        "sweep.pruner.warmup=0",
        "trainer.max_epochs=40",
        "trainer.gradient_clip=null",
        "trainer.log_every=1",  # fails at once, not only after the pruner saw a validation
        "optim.warmup=0",
        "optim.lr=choice(0.01,1e-8,1e30)",
    )
    out, err = command.run()
    summary = command.summary()
    states = [trial["state"] for trial in summary["trials"]]
    assert states == ["complete", "pruned", "failed"], err
    assert summary["best"]["params"] == {"optim.lr": 0.01}
    assert "no longer a number" in summary["trials"][2]["error"]
    assert summary["trials"][1]["validations"] < 40
    assert (command.folder / "pictures/sweep.png").exists()
    assert "0.01" in out

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("trainyard")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "trial" not in run.data.tags)
    trials = {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}
    assert set(trials) == {"0", "1", "2"}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert {run.data.tags["sweep"] for run in runs} == {"sweep"}
    assert parent.info.status == "FINISHED"
    assert [trials[n].data.tags["trial_state"] for n in "012"] == states
    assert [trials[n].info.status for n in "012"] == ["FINISHED", "KILLED", "FAILED"]


@pytest.mark.soak
def test_sweep_ends_when_more_trials_fail_than_may_and_runs_two_at_a_time(tmp_path: Path) -> None:
    command = SweepCommand(
        tmp_path,
        "tracking=none",
        "sweep.jobs=2",
        "sweep.max_failures=1",
        "sweep.trials=8",
        "trainer.max_epochs=1",
        "trainer.gradient_clip=null",
        "trainer.log_every=1",  # fails at once, not only after the pruner saw a validation
        "optim.lr=interval(1e30, 1e31)",
    )
    _, err = command.run(code=1)
    assert re.search(r"[23] trials failed, more than sweep\.max_failures allows; the last: ", err)
    summary = command.summary()
    assert summary["status"] == "failed"
    assert 2 <= summary["counts"]["failed"] <= 3
