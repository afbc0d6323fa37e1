"""Allocations that really fail, in one process of two: both settle, and the gradient is the same.

The limit is RLIMIT_AS: under it the allocator of the CPU refuses, as a GPU's does.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest
import torch
from torch import multiprocessing

from tests.starved_process import Normalized, Pairs, starve
from tests.training_run import TWO, TrainingRun
from trainer.events import read_events
from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

    import psutil
    from torch import nn

pytestmark = pytest.mark.slow
PATIENCE = 300.0
"""Seconds; only a hang reaches it."""


def _both(folder: Path, kind: type[nn.Module]) -> list[dict]:
    context = multiprocessing.spawn(starve, args=(str(folder), kind), nprocs=2, join=False)
    deadline = time.monotonic() + PATIENCE
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "the processes wait for each other"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # what is freed is free again


def test_both_processes_settle_on_ddp_gradients_when_one_runs_out_of_memory_in_backward(tmp_path):
    one, other = _both(tmp_path, Pairs)
    assert other["stages"][:2] == ["forward", "backward"]
    assert other["stages"][2] == "forward", "it did not run out of memory in backward"
    assert one["stages"][:3] == ["forward", "backward", "done"]
    assert one["events"] == []
    assert other["events"][0] == {"step": 1, "rank": 1, "phase": "train", "from": 64, "to": 32}
    assert one["sizes"] == other["sizes"]
    assert len(one["sizes"]) > 1
    for report in (one, other):
        for ours, ddp in zip(report["gradients"], report["ddp"], strict=True):
            assert float((ours - ddp).abs().max()) <= 1e-6
    for a, b in zip(one["weights"], other["weights"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.soak
def test_both_processes_settle_when_one_runs_out_while_the_other_waits_in_a_batchnorm(tmp_path):
    one, other = _both(tmp_path, Normalized)
    assert other["stages"][:3] == ["forward", "backward", "forward"]
    assert one["stages"][:3] == ["forward", "backward", "forward"], "it did not wait in backward"
    assert one["sizes"] == other["sizes"]
    for name in ("gradients", "weights", "buffers"):
        for a, b in zip(one[name], other[name], strict=True):
            assert torch.equal(a, b), name


@pytest.mark.soak
def test_run_in_two_processes_finishes_when_one_runs_out_of_memory(tmp_path):
    run = TrainingRun(
        tmp_path / "run",
        *TWO,
        "data.batch_size=512",
        "model.hidden=[8192]",
        "trainer.max_steps=60",
        "trainer.max_epochs=-1",
        "trainer.val_every=20",
        "callbacks.save_every_steps=5",
        MALLOC_MMAP_THRESHOLD_="65536",
    )
    run.until_step(5)
    worker = run.workers()[1]

    def squeezed() -> bool:
        lowest = min(_pause_and_measure(worker) for _ in range(20))
        limit = lowest + 2 * 256 * 8192 * 4
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        time.sleep(0.2)
        return bool(_ran_out(run))

    run.until(squeezed)
    run.finish()
    event = _ran_out(run)[0]
    assert event["rank"] == 1
    assert event["from"] == 256
    assert event["to"] == 128
    assert "OUT OF MEMORY" in run.text
    assert run.summary["status"] == "finished"
    assert run.summary["steps"] == 60
    rows = [r for r in read_metrics(run.folder / "metrics.csv") if r.name == "train/micro_batch"]
    assert rows
    checkpoint = torch.load(run.folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["trainyard"]["micro_batch"] == rows[-1].value <= 128


def _pause_and_measure(worker: psutil.Process) -> int:
    time.sleep(0.005)
    return worker.memory_info().vms


def _ran_out(run: TrainingRun) -> list[dict]:
    return [event for event in read_events(run.folder) if event["kind"] == "out_of_memory"]
