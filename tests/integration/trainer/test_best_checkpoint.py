"""`best.ckpt` is the best that there is, also after damage and other wishes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from tests.integration.trainer.test_damage import flip_a_bit, truncate
from tests.training import train_tiny, weights
from trainer.checkpoints.checkpoint import verify_checkpoint
from trainer.checkpoints.manager import CheckpointManager
from trainer.errors import TrainerError
from trainer.events import read_events
from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORSE = "optim.lr=1e-9"
"""So that nothing that follows is better than what is there."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose best checkpoint is of step 10 and its last one of step 15."""
    train_tiny(tmp_path, "trainer.max_epochs=2", "callbacks.keep_last=1")
    train_tiny(tmp_path, "trainer.max_epochs=3", "callbacks.keep_last=1", "callbacks.save_best=no")
    assert step(tmp_path, "last") == 15
    assert step(tmp_path, "best") == 10
    unfinished(tmp_path)
    return tmp_path


def unfinished(folder: Path) -> None:
    """A finished run is not gone on with under another learning rate."""
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"status": "stopped"}))


def step(folder: Path, name: str) -> int:
    return int(verify_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["step"])


def kinds(folder: Path) -> list[str]:
    return [event["kind"] for event in read_events(folder)]


@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_damaged_best_checkpoint_is_put_away_and_chosen_anew(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder / "checkpoints/best.ckpt")
    metrics = train_tiny(folder, "trainer.max_epochs=4", WORSE)
    assert step(folder, "best") == 20
    assert "quarantine" in kinds(folder)
    rows = read_metrics(folder / "metrics.csv")
    (last,) = (r.value for r in rows if r.step == 20 and r.name == "val/accuracy")
    assert metrics["val/accuracy"] == last


def test_best_checkpoint_that_is_damaged_during_the_run_is_replaced_by_the_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = CheckpointManager.on_fit_end

    def damaging(self: CheckpointManager, *args: object) -> None:
        flip_a_bit(folder / "checkpoints/best.ckpt")
        end(self, *args)

    monkeypatch.setattr(CheckpointManager, "on_fit_end", damaging)
    train_tiny(folder, "trainer.max_epochs=4", "callbacks.save_best=no")
    assert kinds(folder)[-2:] == ["quarantine", "fallback"]
    assert step(folder, "last") == 20


def test_ranking_starts_anew_when_the_best_is_chosen_by_another_metric(tmp_path: Path) -> None:
    train_tiny(tmp_path, "trainer.max_epochs=2")
    other = ("callbacks.monitor=val/loss", "callbacks.mode=min")
    train_tiny(tmp_path, "trainer.max_epochs=4", *other)
    losses = {
        r.step: r.value for r in read_metrics(tmp_path / "metrics.csv") if r.name == "val/loss"
    }
    assert step(tmp_path, "best") == min(losses, key=losses.__getitem__) > 10


def test_last_checkpoints_are_finite_when_the_run_diverges(tmp_path: Path) -> None:
    diverging = ("optim.warmup=0", "trainer.log_every=50", "callbacks.save_every_steps=1")
    train_tiny(tmp_path, "trainer.max_epochs=1", *diverging)
    unfinished(tmp_path)
    with pytest.raises(TrainerError, match="no longer a number") as caught:
        train_tiny(tmp_path, "trainer.max_epochs=2", *diverging, "optim.lr=1e39")
    assert caught.value.field == "optim.lr"
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        assert all(torch.isfinite(value).all() for value in weights(path).values()), path
    metrics = train_tiny(tmp_path, "trainer.max_epochs=2", *diverging, "optim.lr=2e-3")
    assert metrics["val/loss"] < 10
    rates = [r.value for r in read_metrics(tmp_path / "metrics.csv") if r.name == "lr"]
    assert rates[-1] < 2e-3
