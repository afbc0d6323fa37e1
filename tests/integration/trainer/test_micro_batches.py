"""Runs whose batches do not fit: what they leave on record, and how they go on."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.integration.trainer.conftest import SAVES, STOPPED_AT, stop_at
from tests.training import same, train_tiny, weights
from tests.training_run import PLAIN_SGD, difference
from trainer.checkpoints.checkpoint import KEY, read_checkpoint
from trainer.errors import TrainerError
from trainer.events import read_events
from trainer.lightning_model import LightningModel
from trainer.metrics.metric import read_metrics

LAST = "checkpoints/last.ckpt"
STEADY = (*PLAIN_SGD, "model.dropout=0")


@pytest.fixture
def room(monkeypatch):
    """Memory for `room["samples"]` at once."""
    loss, room = LightningModel.loss, {"samples": 100}

    def scarce(self, batch, count):
        if len(batch["label"]) > room["samples"]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, batch, count)

    monkeypatch.setattr(LightningModel, "loss", scarce)
    return room


@pytest.mark.parametrize("more", [(), ("trainer.accumulate=2", "precision=bf16")])
def test_run_ends_where_one_with_room_does_when_its_batches_are_cut(room, tmp_path, more):
    metrics = train_tiny(tmp_path / "cut", *STEADY, *more)
    room["samples"] = 256
    expected = train_tiny(tmp_path / "whole", *STEADY, *more)
    precise = 1e-5 if not more else 1e-3
    whole, cut = (weights(tmp_path / name / LAST) for name in ("whole", "cut"))
    assert difference(whole, cut) <= precise
    assert metrics["val/loss"] == pytest.approx(expected["val/loss"], abs=10 * precise)
    assert not (tmp_path / "whole" / "events.jsonl").exists()
    rows = {name: read_metrics(tmp_path / name / "metrics.csv") for name in ("cut", "whole")}
    losses = [[r.value for r in rows[n] if r.name == "train/loss"] for n in ("cut", "whole")]
    assert losses[0] == pytest.approx(losses[1], abs=10 * precise)


def test_run_goes_on_exactly_with_the_size_it_found_when_it_was_stopped(room, tmp_path):
    train_tiny(tmp_path / "undisturbed", *SAVES)
    stop_at(tmp_path / "run", STOPPED_AT, *SAVES)
    assert read_checkpoint(tmp_path / "run" / LAST)[KEY]["micro_batch"] == 64
    train_tiny(tmp_path / "run", *SAVES)
    assert same(weights(tmp_path / "run" / LAST), weights(tmp_path / "undisturbed" / LAST))
    events = [e for e in read_events(tmp_path / "run") if e["kind"] == "out_of_memory"]
    assert [(e["step"], e["rank"], e["from"], e["to"]) for e in events] == [
        (0, 0, 256, 128),
        (0, 0, 128, 64),
    ]
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert {row.value for row in rows if row.name == "train/micro_batch"} == {64.0}


def test_run_ends_with_the_remedy_when_it_shall_not_cut_batches(room, tmp_path):
    with pytest.raises(TrainerError, match="out of memory: CUDA out of memory") as caught:
        train_tiny(tmp_path, "trainer.out_of_memory=fail")
    assert "trainer.out_of_memory=retry" in caught.value.remedy
    shutil.rmtree(tmp_path)
