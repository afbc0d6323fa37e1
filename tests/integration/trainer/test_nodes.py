"""Two machines, each a network namespace with one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.training_run import TWO, TrainingRun, difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 29517
SAFE_SECONDS = 60.0
"""The longest that a lost machine may keep the others, in seconds; asked in soak tests only."""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    name = f"trainyard-{uuid.uuid4().hex[:6]}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces are refused here: {error.stderr.decode().strip()}"
    return None


REASON = _why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two namespaces, 10.77.0.1 and 10.77.0.2, with a cable between them."""
    mark = uuid.uuid4().hex[:6]
    names = [f"ty-{mark}-{index}" for index in range(2)]
    try:
        for name in names:
            _ip("netns", "add", name)
        cable = [f"ty{mark}{index}" for index in range(2)]
        _ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for index, (name, end) in enumerate(zip(names, cable, strict=True)):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"10.77.0.{index + 1}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _start(
    folder: Path,
    machines: list[str],
    *overrides: str,
    folders: tuple[str, str] = ("run", "run"),
) -> list[TrainingRun]:
    runs = []
    for rank, name in enumerate(machines):
        run = TrainingRun(
            folder / folders[rank],
            *overrides,
            "trainer.num_nodes=2",
            f"trainer.node_rank={rank}",
            f"trainer.rendezvous=10.77.0.1:{PORT}",
            "trainer.max_epochs=-1",
            "trainer.restart_backoff=0.1",
            "callbacks.save_every_steps=10",
            prefix=("ip", "netns", "exec", name),
        )
        runs.append(run)
    return runs


def test_two_machines_train_as_one_does_with_two_processes(
    tmp_path: Path, machines: list[str]
) -> None:
    first, second = _start(tmp_path, machines, "trainer.max_steps=30")
    assert [first.wait(), second.wait()] == [0, 0], first.text
    local = TrainingRun(
        tmp_path / "local", *TWO, "trainer.max_steps=30", "trainer.max_epochs=-1"
    ).finish()
    assert first.summary["status"] == "finished"
    assert difference(first.weights(), local.weights()) <= 1e-6


@pytest.mark.soak
def test_machines_are_refused_before_they_train_when_they_share_no_folder(
    tmp_path: Path, machines: list[str]
) -> None:
    first, second = _start(tmp_path, machines, "trainer.max_steps=30", folders=("run", "other"))
    for run in (first, second):
        assert run.wait() == 2, run.text
        assert "1 of 2 nodes do not see" in run.text.splitlines()[-1]
    assert first.saved_step() == -1


@pytest.mark.soak
def test_machines_stop_together_when_only_one_is_asked_to(
    tmp_path: Path, machines: list[str]
) -> None:
    first, second = _start(tmp_path, machines, "trainer.max_steps=1000000")
    first.until_step(30)
    second.signal(signal.SIGTERM)
    assert [first.wait(), second.wait()] == [143, 143], first.text
    assert first.summary["status"] == "stopped"


@pytest.mark.soak
def test_machine_finishes_alone_when_the_other_is_lost_and_one_is_enough(
    tmp_path: Path, machines: list[str]
) -> None:
    first, second = _start(
        tmp_path, machines, "trainer.max_steps=2000", "trainer.min_nodes=1", "trainer.val_every=50"
    )
    first.until_step(30)
    second.kill()
    lost = time.monotonic()
    first.until(lambda: "going on from" in first.text)
    assert time.monotonic() - lost < SAFE_SECONDS
    assert first.wait() == 0, first.text
    assert first.summary["steps"] == 2000
    assert "going on from" in first.text


@pytest.mark.soak
@pytest.mark.parametrize("lost", [0, 1], ids=["host", "other"])
def test_machine_exits_in_one_line_when_one_that_is_needed_is_lost(
    tmp_path: Path, machines: list[str], lost: int
) -> None:
    runs = _start(tmp_path, machines, "trainer.max_steps=1000000")
    runs[0].until_step(30)
    runs[lost].kill()
    began = time.monotonic()
    left = runs[1 - lost]
    assert left.wait() == 1, left.text
    assert time.monotonic() - began < SAFE_SECONDS
    assert "error:" in left.text.splitlines()[-1]
    assert "trainer.rendezvous" in left.text.splitlines()[-1]
    assert "Traceback" not in left.text
