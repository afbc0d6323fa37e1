"""Runs that end where something else is due: a validation, the test, the end of an epoch."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.trainer.conftest import stop_at
from tests.training import same, train_tiny, weights
from trainer.checkpoints.checkpoint import KEY, read_checkpoint
from trainer.errors import Stopped
from trainer.lightning_model import LightningModel
from trainer.metrics.metrics_file import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = (
    "callbacks.save_every_steps=1",
    "callbacks.keep_last=20",
    "callbacks.monitor=val/loss",
    "callbacks.mode=min",
    "trainer.val_every=0.4",
    "trainer.max_epochs=2",
)
"""Of the five steps of an epoch, a validation follows the second and the fourth."""
COUNTED = (
    *OPTIONS[:4],
    "data.batch_size=320",
    "model.dropout=0.1",
    "optim.schedule=constant",
    "trainer.max_epochs=-1",
)
"""Four steps an epoch, and `max_steps` ends the run."""
STEPS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run, with a checkpoint of each step."""
    folder = tmp_path_factory.mktemp("whole")
    train_tiny(folder, *OPTIONS)
    return folder


def _go_on_from(whole: Path, folder: Path, step: int) -> None:
    """Let `folder` be that of a run whose last save was this one."""
    kept = whole / "checkpoints" / f"step-{step:08d}.ckpt"
    (folder / "checkpoints").mkdir()
    for suffix in ("", ".json"):
        shutil.copy(f"{kept}{suffix}", f"{folder}/checkpoints/last.ckpt{suffix}")


def _summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def _validated(folder: Path) -> list[tuple[int, float]]:
    rows = read_metrics(folder / "metrics.csv")
    return [(row.step, row.value) for row in rows if row.name == "val/loss"]


def _same_end(folder: Path, whole: Path) -> None:
    for name in ("last", "best"):
        path = f"checkpoints/{name}.ckpt"
        assert same(weights(folder / path), weights(whole / path)), name
    assert _summary(folder)["metrics"] == _summary(whole)["metrics"]
    assert _summary(folder)["best_checkpoint"] is not None


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_property_03_run_leaves_no_validation_out_when_it_is_killed_after_a_save(
    whole: Path, tmp_path: Path, step: int
) -> None:
    _go_on_from(whole, tmp_path, step)
    train_tiny(tmp_path, *OPTIONS)
    _same_end(tmp_path, whole)
    assert _validated(tmp_path) == [row for row in _validated(whole) if row[0] > step]


@pytest.mark.parametrize("step", [2, 5, 10])
def test_property_03_run_ends_the_same_when_it_is_stopped_where_something_else_is_due(
    whole: Path, tmp_path: Path, step: int
) -> None:
    stop_at(tmp_path, step, *OPTIONS)
    train_tiny(tmp_path, *OPTIONS)
    _same_end(tmp_path, whole)
    assert _validated(tmp_path) == _validated(whole)


def test_property_03_run_tests_its_best_weights_when_it_was_stopped_in_its_test(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_step = LightningModel.test_step

    def stopping(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)
        return test_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(LightningModel, "test_step", stopping)
        with pytest.raises(Stopped):
            train_tiny(tmp_path, *OPTIONS)
    train_tiny(tmp_path, *OPTIONS)
    _same_end(tmp_path, whole)


@pytest.fixture(scope="module", params=["0.5", "1"])
def counted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[str, ...]]:
    """The folder of an undisturbed run, and its options: with and without a validation in the
    middle of an epoch; either way one follows its last batch.
    """
    folder = tmp_path_factory.mktemp("counted")
    options = (*COUNTED, f"trainer.val_every={request.param}")
    train_tiny(folder, *options, f"trainer.max_steps={STEPS}")
    return folder, options


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(2, id="within-an-epoch"),
        pytest.param(3, id="before-its-last-batch"),
        pytest.param(4, id="after-its-validation"),
    ],
)
def test_property_03_run_of_so_many_steps_ends_the_same_when_it_is_killed_around_an_epochs_end(
    counted: tuple[Path, tuple[str, ...]], tmp_path: Path, step: int
) -> None:
    whole, options = counted
    _go_on_from(whole, tmp_path, step)
    train_tiny(tmp_path, *options, f"trainer.max_steps={STEPS}")
    _same_end(tmp_path, whole)
    assert _validated(tmp_path) == [row for row in _validated(whole) if row[0] > step]


@pytest.mark.slow
def test_property_03_run_ends_the_same_when_it_first_ended_in_and_at_the_end_of_an_epoch(
    counted: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    whole, options = counted
    for steps in (6, 8, STEPS):
        train_tiny(tmp_path, *options, f"trainer.max_steps={steps}")
    _same_end(tmp_path, whole)


def test_best_checkpoint_tells_the_metrics_of_its_own_validation(whole: Path) -> None:
    best = read_checkpoint(whole / "checkpoints/best.ckpt")
    told = best[KEY]["metrics"]["val/loss"]
    assert dict(_validated(whole))[best["global_step"]] == pytest.approx(told, rel=1e-6)
