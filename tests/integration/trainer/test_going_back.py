"""A run that goes on from an earlier checkpoint leaves what came after it behind, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from tests.training import train_tiny
from trainer.checkpoints.checkpoint import verify_checkpoint
from trainer.errors import ConfigError
from trainer.events import read_events
from trainer.lightning_model import LightningModel
from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

SAVES = ("callbacks.save_every_steps=2", "callbacks.keep_last=20")


def steps(folder: Path) -> dict[str, int]:
    return {path.stem: verify_checkpoint(path)["step"] for path in sorted(folder.glob("*.ckpt"))}


def test_newer_checkpoints_are_set_aside_when_an_earlier_one_is_named(tmp_path, tracking_uri):
    folder = tmp_path / "run"
    train_tiny(folder, *SAVES, "trainer.max_epochs=2", "tracking=mlflow")
    assert steps(folder / "checkpoints") == {
        "best": 10, "last": 10, **{f"step-{n:08d}": n for n in (2, 4, 5, 6, 8)}
    }  # fmt: skip
    named = f"resume={folder}/checkpoints/step-00000006.ckpt"
    other = ("optim.lr=2e-3", "trainer.max_epochs=2", "tracking=mlflow")
    before = read_metrics(folder / "metrics.csv")
    train_tiny(folder, *SAVES, *other, named)
    assert steps(folder / "checkpoints.1") == {"best": 10, "last": 10, "step-00000008": 8}
    assert steps(folder / "checkpoints")["last"] == 10
    (aside,) = (event for event in read_events(folder) if event["kind"] == "set_aside")
    assert aside["checkpoints"] == "checkpoints.1"
    after = read_metrics(folder / "metrics.csv")
    assert [row for row in after if row.step <= 6] == [row for row in before if row.step <= 6]
    assert [row for row in after if row.step > 6] != [row for row in before if row.step > 6]

    train_tiny(folder, *SAVES, *other, "trainer.max_epochs=3")  # auto: from the new branch
    client = MlflowClient(tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("trainyard").experiment_id])
    history = client.get_metric_history(run.info.run_id, "val/loss")
    rows = [row for row in read_metrics(folder / "metrics.csv") if row.name == "val/loss"]
    assert [(m.step, m.value) for m in history if m.step in {5, 15}] == [
        (row.step, row.value) for row in rows if row.step in {5, 15}
    ]
    assert rows[1].value in [m.value for m in history if m.step == 10]


def test_nothing_is_set_aside_when_the_newest_is_named_or_the_run_is_refused(tmp_path):
    train_tiny(tmp_path, *SAVES, "trainer.max_epochs=1")
    found = steps(tmp_path / "checkpoints")
    with pytest.raises(ConfigError, match="another model"):
        train_tiny(
            tmp_path, "model.hidden=[8]", f"resume={tmp_path}/checkpoints/step-00000002.ckpt"
        )
    assert steps(tmp_path / "checkpoints") == found
    train_tiny(tmp_path, *SAVES, "trainer.max_epochs=2", f"resume={tmp_path}/checkpoints/last.ckpt")
    assert not (tmp_path / "checkpoints.1").exists()


def test_checkpoints_of_the_folder_are_set_aside_when_another_runs_is_named(tmp_path):
    train_tiny(tmp_path / "other", "trainer.max_epochs=1")
    train_tiny(tmp_path / "run", *SAVES, "trainer.max_epochs=3")
    named = f"resume={tmp_path}/other/checkpoints/last.ckpt"
    train_tiny(tmp_path / "run", "trainer.max_epochs=2", named)
    assert steps(tmp_path / "run/checkpoints.1")["last"] == 15
    assert steps(tmp_path / "run/checkpoints")["last"] == 10


def test_a_run_that_goes_on_otherwise_is_recorded_as_it_went_on(
    tmp_path, tracking_uri, monkeypatch
):
    training_step = LightningModel.training_step

    def failing(self, batch, batch_idx):
        if self.global_step == 13:
            raise ConnectionError("lost")
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(LightningModel, "training_step", failing)
    with pytest.raises(ConnectionError):
        train_tiny(tmp_path, "tracking=mlflow")
    monkeypatch.setattr(LightningModel, "training_step", training_step)
    train_tiny(tmp_path, "tracking=mlflow", "optim.lr=5e-2")
    client = MlflowClient(tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("trainyard").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    sent = [metric.value for metric in history if metric.step == 12]
    rows = read_metrics(tmp_path / "metrics.csv")
    assert next(r.value for r in rows if (r.name, r.step) == ("train/loss", 12)) in sent
    assert len(sent) == 2
