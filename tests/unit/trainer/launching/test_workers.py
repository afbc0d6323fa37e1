from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

import pytest

from trainer.control import ControlFolder
from trainer.errors import PreflightError, Stopped, TrainerError
from trainer.launching.rendezvous import Meeting
from trainer.launching.workers import _Launch, train_in_workers
from trainer.preflight import preflight
from trainer.run_folder import RunFolder


@pytest.fixture
def port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def first_of_two_nodes(config, port):
    return config(
        "trainer.accelerator=cpu",
        "trainer.num_nodes=2",
        "trainer.node_rank=0",
        f"trainer.rendezvous=127.0.0.1:{port}",
    )


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_launch_fails_with_a_remedy_when_the_rendezvous_cannot_be_opened(config, port, tmp_path):
    cfg = first_of_two_nodes(config, port)
    results = [tmp_path / "predictions.npz", tmp_path / "report.html"]
    for file in results:
        file.touch()
    with pytest.raises(TrainerError, match="did not meet") as caught:
        train_in_workers(cfg, preflight(cfg), folder=tmp_path)
    assert all(file.exists() for file in results)
    assert caught.value.field == "trainer.rendezvous"
    assert caught.value.remedy
    assert summary(tmp_path)["status"] == "failed"


def test_launch_stops_at_the_first_signal_when_it_still_waits_for_another_node(config, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    cfg = first_of_two_nodes(config, free)
    before = signal.getsignal(signal.SIGTERM)

    def stop():
        while signal.getsignal(signal.SIGTERM) == before:
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Stopped, match="SIGTERM"):
        train_in_workers(cfg, preflight(cfg), folder=tmp_path)
    stopper.join()
    assert summary(tmp_path)["status"] == "stopped"


class AgentOfAskedWorkers:
    """Its workers have got the signal that this process has not."""

    has_workers = True

    def __init__(self, control):
        self.control = control

    def run(self):
        self.control.stop(1)


@pytest.mark.parametrize("status", ["stopped", "running"])  # the latter before the host wrote
def test_launch_stops_when_only_its_workers_were_asked_to(config, tmp_path, status):
    cfg = config("trainer.devices=2", "trainer.accelerator=cpu")
    files, control = RunFolder(tmp_path), ControlFolder(tmp_path)
    files.summarize(status=status, steps=3, run_id=None)
    launch = _Launch(cfg, preflight(cfg), files)
    with pytest.raises(Stopped, match="stopped at step 3") as caught:
        launch._watch(AgentOfAskedWorkers(control), control)
    assert caught.value.exit_code == 143


def test_launch_ends_well_when_the_signal_found_everything_done(config, tmp_path):
    cfg = config("trainer.devices=2", "trainer.accelerator=cpu")
    files, control = RunFolder(tmp_path), ControlFolder(tmp_path)
    files.summarize(status="finished", steps=3, run_id=None)
    _Launch(cfg, preflight(cfg), files)._watch(AgentOfAskedWorkers(control), control)


def test_machines_are_refused_when_none_is_told_which_it_is(config, port, monkeypatch):
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    cfg = first_of_two_nodes(config, port)
    cfg.trainer.node_rank = None
    with pytest.raises(PreflightError, match=r"trainer\.node_rank=null") as caught:
        Meeting.plan(cfg)
    assert caught.value.field == "trainer.node_rank"
