from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

import pytest

from trainer.errors import Stopped, TrainerError
from trainer.preflight import preflight
from trainer.workers import train_in_workers


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
    with pytest.raises(TrainerError, match="did not meet") as caught:
        train_in_workers(cfg, preflight(cfg), folder=tmp_path)
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
