"""Workers that are killed, stopped or stand still: the run ends as if nothing had happened."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.training_run import TWO, TrainingRun, difference
from tests.unit.trainer.data.making import write_images
from trainer.events import read_events

if TYPE_CHECKING:
    import random
    from pathlib import Path

pytestmark = pytest.mark.slow
STEPS = (
    "model.dropout=0.1",
    "callbacks.save_every_steps=10",
    "trainer.restart_backoff=0.1",
    "trainer.max_epochs=-1",
    "trainer.max_steps=1000000",
    "trainer.progress=none",
)


@pytest.mark.parametrize(
    "kills",
    [1, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_run_ends_with_the_same_weights_when_workers_are_killed_again_and_again(
    tmp_path: Path, kills: int, dice: random.Random
) -> None:
    steps = 100 * (kills + 1)
    overrides = (*STEPS, *TWO, f"trainer.max_steps={steps}", "trainer.val_every=100")
    calm = TrainingRun(tmp_path / "calm", *overrides).finish()
    run = TrainingRun(
        tmp_path / "run",
        *overrides,
        f"trainer.max_restarts={kills}",
        "trainer.restart_backoff=0",
    )
    for kill in range(kills):
        before = run.saved_step()
        run.until_step(before + 20 + 10 * dice.randrange(5))
        workers = run.until(lambda: len(found := run.workers()) == 2 and found)
        workers[dice.randrange(2)].send_signal(signal.SIGKILL)
        run.until(lambda n=kill + 1: run.text.count("was killed by SIGKILL") == n)
        run.until(lambda n=kill + 1: run.text.count("going on from") == n)
    run.finish()
    assert "the start" not in run.text  # each went on from a checkpoint
    assert run.summary["restarts"] == kills
    restarts = [event for event in read_events(run.folder) if event["kind"] == "restart"]
    assert [event["number"] for event in restarts] == list(range(1, kills + 1))
    assert all(re.fullmatch(r"rank \d was killed by SIGKILL", e["cause"]) for e in restarts)
    assert run.summary["status"] == "finished"
    assert difference(run.weights(), calm.weights()) == 0
    assert run.metrics == calm.metrics


@pytest.mark.soak
def test_run_fails_in_one_line_when_its_restarts_are_used_up(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", *STEPS, *TWO, "trainer.max_restarts=0")
    run.until_step(10)
    run.workers()[1].kill()
    assert run.wait() == 1
    assert "trainer.max_restarts=0" in run.text.splitlines()[-1]
    assert "Traceback" not in run.text
    assert run.summary["status"] == "failed"
    assert run.summary["last_checkpoint"]
    assert run.summary["steps"] == run.saved_step() >= 10


@pytest.mark.soak
def test_run_goes_on_when_a_worker_stands_still(tmp_path: Path) -> None:
    run = TrainingRun(
        tmp_path / "run", *STEPS, *TWO, "trainer.max_steps=300", "trainer.hang_timeout=4"
    )
    run.until_step(20)
    run.workers()[1].suspend()
    run.finish()
    assert "finished no batch for" in run.text
    assert run.summary["steps"] == 300


@pytest.mark.soak
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_run_saves_and_goes_on_from_there_when_stopped_by_a_signal(
    tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    run = TrainingRun(tmp_path / "run", *STEPS, *TWO)
    run.until_step(20)
    run.signal(signum)
    assert run.wait() == code
    assert run.summary["status"] == "stopped"
    assert run.saved_step() == run.summary["steps"] >= 20
    last = run.summary["last_checkpoint"]
    goal = run.saved_step() + 5
    again = TrainingRun(
        tmp_path / "again", *STEPS, f"resume={last}", f"trainer.max_steps={goal}"
    ).finish()
    assert again.summary["steps"] == goal


def test_run_stops_as_asked_when_the_signal_reaches_one_worker_alone(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", *STEPS, *TWO)
    run.until_step(10)
    run.workers()[1].send_signal(signal.SIGTERM)
    assert run.wait() == 143, run.text
    assert run.summary["status"] == "stopped"
    assert run.saved_step() == run.summary["steps"]


@pytest.mark.soak
def test_workers_die_when_their_launcher_is_killed(tmp_path: Path) -> None:
    run = TrainingRun(tmp_path / "run", *STEPS, *TWO)
    run.until_step(10)
    workers = run.workers()
    assert len(workers) == 2
    run.process.kill()
    run.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]


def test_worker_error_is_one_line_with_its_exit_code_when_only_workers_can_find_it(
    tmp_path: Path,
) -> None:
    images = tmp_path / "images"
    for label in ("a", "b"):
        write_images(images / label, count=10)
    broken = images / "b" / "3.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    run = TrainingRun(tmp_path / "run", *TWO, "data=image_folder", f"data.root={images}")
    assert run.wait() == 2
    errors = [line for line in run.text.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "b/3.png" in errors[0]
    assert "Traceback" not in run.text
    assert run.summary["status"] == "failed"
