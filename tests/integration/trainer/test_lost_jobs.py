"""Whole jobs that are killed or stopped at any moment, and started again by the same command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.training_run import TWO, TrainingRun, difference
from trainer.checkpoints.checkpoint import verify_checkpoint
from trainer.events import read_events

if TYPE_CHECKING:
    import random

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(1800)]
STEPS = (
    "model.dropout=0.1",
    "callbacks.save_every_steps=3",
    "callbacks.keep_last=3",
    "trainer.max_epochs=-1",
    "trainer.max_steps=1000",
    "trainer.val_every=0.5",
    "trainer.progress=none",
)
"""What a signal meets is often a checkpoint being written, or a validation."""
ATTEMPTS = 10
BY_SIGNAL = {143, -signal.SIGTERM}
"""A shell calls both 143. Python dies of a signal that comes before train.py has begun."""
WATCHER = """
import io, sys, zipfile
from pathlib import Path

folder, looked = Path(sys.argv[1]), 0
print("ready", flush=True)
while not (folder / "done").exists():
    for path in folder.glob("run/checkpoints/*.ckpt"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None, path
        looked += 1
print(looked)
"""


def _moment(run: TrainingRun, dice: random.Random, attempt: int) -> None:
    """Wait until anything may be going on: every third time the start-up."""
    if attempt % 3 != 2:
        run.until_step(run.saved_step() + 2)
    time.sleep(dice.uniform(0, 1) if attempt % 3 != 2 else dice.uniform(0, 6))


@pytest.mark.parametrize("options", [(), TWO], ids=["one", "two"])
def test_property_03_job_ends_the_same_when_it_is_killed_and_started_again_and_again(
    tmp_path: Path, dice: random.Random, options: tuple[str, ...]
) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system for TMPDIR")
    calm = TrainingRun(tmp_path / "calm", *STEPS, *options).finish()
    command = [sys.executable, "-c", WATCHER, str(tmp_path)]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for attempt in range(ATTEMPTS):
            run = TrainingRun(tmp_path / "run", *STEPS, *options, TMPDIR="/dev/shm")
            _moment(run, dice, attempt)
            if dice.random() < 0.5:
                run.kill()
            else:  # its workers go with it
                run.process.kill()
                run.process.wait()
        TrainingRun(tmp_path / "run", *STEPS, *options, TMPDIR="/dev/shm").finish()
    finally:
        (tmp_path / "done").touch()
    looked, complaint = watcher.communicate()
    assert watcher.returncode == 0, complaint
    assert int(looked.split()[-1]) > 0
    _as_if_nothing_had_happened(run, calm)


@pytest.mark.parametrize(
    "options",
    [TWO, (*TWO, "callbacks.async_save=true"), (*TWO, "data.num_workers=2")],
    ids=["plain", "background", "loaders"],
)
def test_property_03_job_saves_and_ends_the_same_when_it_is_stopped_again_and_again(
    tmp_path: Path, dice: random.Random, options: tuple[str, ...]
) -> None:
    calm = TrainingRun(tmp_path / "calm", *STEPS, *options).finish()
    for attempt in range(ATTEMPTS):
        run = TrainingRun(tmp_path / "run", *STEPS, *options)
        before = run.saved_step()
        _moment(run, dice, attempt)
        run.signal(signal.SIGTERM)
        assert run.wait() in BY_SIGNAL, run.text
        if run.saved_step() > before:
            last = verify_checkpoint(run.folder / "checkpoints" / "last.ckpt")
            assert run.summary["status"] == "stopped"
            assert run.summary["steps"] == last["step"]
    assert "Traceback" not in run.text
    TrainingRun(tmp_path / "run", *STEPS, *options).finish()
    _as_if_nothing_had_happened(run, calm)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("devices", [(), TWO], ids=["one", "two"])
def test_job_saves_and_stops_when_a_signal_reaches_all_its_processes_at_once(
    tmp_path: Path, devices: tuple[str, ...], signum: signal.Signals
) -> None:
    run = TrainingRun(
        tmp_path / "run", *STEPS, *devices, "data.num_workers=2", "trainer.max_steps=1000000"
    )
    run.until_step(9)
    for process in [run.process.pid, *(child.pid for child in run.descendants())]:
        os.kill(process, signum)
    assert run.wait() == 128 + signum, run.text
    assert "Traceback" not in run.text
    assert verify_checkpoint(run.folder / "checkpoints/last.ckpt")["step"] == run.summary["steps"]


def _as_if_nothing_had_happened(run: TrainingRun, calm: TrainingRun) -> None:
    assert "quarantine" not in {event["kind"] for event in read_events(run.folder)}
    for name in ("last", "best"):
        assert difference(run.weights(name), calm.weights(name)) == 0
    assert run.summary["metrics"] == calm.summary["metrics"]
    assert run.summary["steps"] == calm.summary["steps"] == 1000
