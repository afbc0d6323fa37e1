"""What a run goes on with is what it is told, and not what it was told before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.trainer.conftest import stop_at
from tests.training import train_tiny
from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.errors import ConfigError
from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

CONSTANT = ("optim.warmup=0", "optim.schedule=constant")


def rates(folder: Path) -> dict[int, float]:
    return {r.step: r.value for r in read_metrics(folder / "metrics.csv") if r.name == "lr"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CONSTANT, (*CONSTANT, "optim.lr=5e-4"), {12: 5e-4, 20: 5e-4}),
        ((), ("optim.lr=5e-4",), None),
    ],
)
def test_resumed_run_takes_the_learning_rate_that_it_is_given(tmp_path, before, after, expected):
    train_tiny(tmp_path / "whole", *after)
    stop_at(tmp_path / "run", 10, *before)
    train_tiny(tmp_path / "run", *after)
    if expected is None:  # the schedule of a run that had this rate from the start
        expected = {step: rate for step, rate in rates(tmp_path / "whole").items() if step > 10}
    found = rates(tmp_path / "run")
    assert {step: found[step] for step in expected} == pytest.approx(expected, rel=1e-12)


def test_batches_of_another_size_are_refused_in_the_middle_of_an_epoch(tmp_path):
    stop_at(tmp_path, 7, "callbacks.keep_last=5")
    with pytest.raises(ConfigError, match="in the middle of an epoch of batches of 256") as caught:
        train_tiny(tmp_path, "data.batch_size=128")
    assert caught.value.field == "data.batch_size"
    end = f"resume={tmp_path}/checkpoints/step-00000005.ckpt"
    train_tiny(tmp_path, "data.batch_size=128", "trainer.max_epochs=2", end)
    assert read_metrics(tmp_path / "metrics.csv")[-1].step == 5 + 11


def test_resumed_run_takes_weight_decay_and_betas_that_it_is_given(tmp_path):
    stop_at(tmp_path, 10)
    train_tiny(tmp_path, "optim.weight_decay=0.3", "optim.betas=[0.8,0.9]")
    groups = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["optimizer_states"][0]
    decayed, plain = groups["param_groups"]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert tuple(decayed["betas"]) == (0.8, 0.9)
