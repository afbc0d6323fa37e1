"""Property 4: two processes with half of each batch train what one with all of it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trainer.checkpoint import read_checkpoint
from trainer.compose import compose
from trainer.launch import DistributedTrainer
from trainer.metrics_file import read_metrics
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from pathlib import Path

# 179 validation samples: not divisible by two.
SETTINGS = (
    "data=digits",
    "data.batch_size=64",
    "model=mlp",
    "model.dropout=0",
    "optim=sgd",
    "optim.lr=0.05",
    "trainer.max_steps=20",
    "trainer.log_every=5",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.progress=none",
    "tracking=none",
)
# torch's agent leaves the log files of its workers to the garbage collector.
AGENT_FILES = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io.FileIO .*workers:pytest.PytestUnraisableExceptionWarning"
)


def _train(folder: Path, *overrides: str) -> Path:
    cfg = compose("train", [*SETTINGS, *overrides], schemas=register_schemas)
    DistributedTrainer(cfg).run(folder)
    return folder


@pytest.mark.slow
@AGENT_FILES
def test_property_04_weights_and_metrics_are_those_of_one_process(tmp_path):
    one = _train(tmp_path / "one")
    two = _train(tmp_path / "two", "trainer.devices=2")
    ours, theirs = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (one, two))
    assert theirs["trainyard"]["world_size"] == 2
    assert ours["global_step"] == theirs["global_step"] == 20
    for name, value in ours["state_dict"].items():
        assert (value - theirs["state_dict"][name]).abs().max() <= 1e-6, name
    rows = [
        {(row.step, row.name): row.value for row in read_metrics(folder / "metrics.csv")}
        for folder in (one, two)
    ]
    assert rows[0].keys() == rows[1].keys()
    for key, value in rows[0].items():
        assert value == pytest.approx(rows[1][key], abs=1e-5), key
    status = json.loads((two / "summary.json").read_text())["status"]
    assert status == "finished"
