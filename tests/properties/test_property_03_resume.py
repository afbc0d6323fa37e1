"""A run that goes on in or at the end of an epoch ends as if it had never been interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.training_run import PLAIN_SGD, TWO, TrainingRun, difference
from trainer.checkpoints.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
LENGTH = ("trainer.max_steps=40", "trainer.max_epochs=-1")  # an epoch has 22 steps
SAVES = ("callbacks.save_every_steps=11", "callbacks.keep_last=20")
END, MIDDLE = 22, 33
"""Steps at which a checkpoint was made, of an epoch."""
AVERAGE = ("callbacks.ema_decay=0.9",)
RANDOM = ("model.dropout=0.3", "data.num_workers=2")


def _checkpoint(run: TrainingRun, step: int) -> str:
    return f"resume={run.folder}/checkpoints/step-{step:08d}.ckpt"


@pytest.mark.parametrize(
    ("step", "devices", "average"),
    [
        pytest.param(MIDDLE, TWO, (), id="two"),
        pytest.param(END, TWO, (), id="two-end", marks=pytest.mark.soak),
        pytest.param(MIDDLE, (), (), id="one", marks=pytest.mark.soak),
        pytest.param(MIDDLE, (), AVERAGE, id="one-ema", marks=pytest.mark.soak),
        pytest.param(MIDDLE, TWO, AVERAGE, id="two-ema", marks=pytest.mark.soak),
    ],
)
def test_property_03_resumed_run_is_bit_exact_when_there_are_dropout_augmentation_and_workers(
    tmp_path: Path, step: int, devices: tuple[str, ...], average: tuple[str, ...]
) -> None:
    overrides = (*LENGTH, *RANDOM, *devices, *average)
    whole = TrainingRun(tmp_path / "whole", *overrides, *SAVES).finish()
    rest = TrainingRun(tmp_path / "rest", *overrides, _checkpoint(whole, step)).finish()
    assert difference(whole.weights(), rest.weights()) == 0
    assert set(rest.metrics) == {row for row in whole.metrics if row.step > step}


@pytest.mark.soak
@pytest.mark.parametrize("form", [(), ("callbacks.sharded=true",)], ids=["files", "shards"])
def test_property_03_resumed_run_is_the_same_when_the_number_of_processes_changes(
    tmp_path: Path, form: tuple[str, ...]
) -> None:
    overrides = (*LENGTH, *PLAIN_SGD, "optim.momentum=0.9")
    one = TrainingRun(tmp_path / "one", *overrides, *SAVES, *form).finish()
    two = TrainingRun(tmp_path / "two", *overrides, *SAVES, *form, *TWO).finish()
    onwards = {
        "two": (*TWO, _checkpoint(one, MIDDLE)),
        "one": (_checkpoint(two, MIDDLE),),
        "fsdp": (*TWO, "strategy=fsdp", _checkpoint(one, MIDDLE)),
    }
    expected = read_checkpoint(one.folder / "checkpoints" / "last.ckpt")["state_dict"]
    for name, start in onwards.items():
        run = TrainingRun(tmp_path / f"onwards-{name}", *overrides, *start).finish()
        assert difference(expected, run.weights()) <= 1e-6, name
