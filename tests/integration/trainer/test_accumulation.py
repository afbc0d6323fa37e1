"""A step of several batches is done, or not begun: a checkpoint never holds half of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.trainer.conftest import stop_at
from tests.training import same, train_tiny, weights
from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

THREE = ("trainer.accumulate=3", "trainer.max_epochs=6")
"""Five batches an epoch, two steps: of three batches and of two."""
CONSTANT = ("optim.schedule=constant", "optim.warmup=0")


@pytest.mark.parametrize("step", [1, 3, 4])
def test_property_03_run_ends_the_same_when_it_is_stopped_while_gradients_are_accumulated(
    tmp_path: Path, step: int
) -> None:
    train_tiny(tmp_path / "whole", *THREE)
    stop_at(tmp_path / "run", step, *THREE)  # in the step's first batch
    train_tiny(tmp_path / "run", *THREE)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (tmp_path / folder / "checkpoints" / name for folder in ("run", "whole"))
        assert same(weights(one), weights(other))
    records = [read_metrics(tmp_path / name / "metrics.csv") for name in ("run", "whole")]
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("every", "steps"),
    [(0.2, {1, 2, 3, 4}), (0.4, {1, 2, 3, 4}), (0.6, {1, 3}), (1.0, {2, 4}), (2, {4})],
)
def test_validations_due_within_a_step_come_after_it(
    tmp_path: Path, every: float, steps: set[int]
) -> None:
    train_tiny(tmp_path, *THREE, "trainer.max_epochs=2", f"trainer.val_every={every}")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [r.step for r in rows if r.name == "val/loss"] == sorted(steps)


def test_property_03_best_checkpoint_of_an_epochs_middle_is_gone_on_from(tmp_path: Path) -> None:
    often = (*THREE, "trainer.val_every=0.4", "callbacks.save_last=false", *CONSTANT)
    train_tiny(tmp_path / "whole", *often, "trainer.max_epochs=3")
    train_tiny(tmp_path / "run", *often, "trainer.max_epochs=-1", "trainer.max_steps=3")
    train_tiny(tmp_path / "run", *often, "trainer.max_epochs=3")
    one, other = (
        [row for row in read_metrics(tmp_path / name / "metrics.csv") if row.step > 3]
        for name in ("run", "whole")
    )
    assert {row.step for row in one} == {4, 5, 6}
    assert one == other
