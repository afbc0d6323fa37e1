"""Gradients are synchronised: several processes step by the gradient that one computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.training_run import PLAIN_SGD, THREE, TWO, TrainingRun, difference

if TYPE_CHECKING:
    from pathlib import Path

    import torch

pytestmark = pytest.mark.slow


def _gradient(run: TrainingRun) -> dict[str, torch.Tensor]:
    """Of the second step: plain SGD with a rate of 1 subtracts just that."""
    before, after = (run.weights(f"step-{step:08d}") for step in (1, 2))
    return {name: before[name].double() - after[name].double() for name in before}


@pytest.mark.parametrize(
    "several", [TWO, pytest.param(THREE, marks=pytest.mark.soak)], ids=["two", "three"]
)
def test_property_02_gradients_equal_those_of_one_process_when_there_are_several(
    tmp_path: Path, several: tuple[str, ...]
) -> None:
    overrides = (
        *PLAIN_SGD,
        "optim.lr=1",
        "trainer.max_steps=3",
        "callbacks.save_every_steps=1",
        "callbacks.keep_last=5",
        "data.balance=weights",
        *several[1:],
    )
    one = TrainingRun(tmp_path / "one", *overrides).finish()
    together = TrainingRun(tmp_path / "several", *overrides, *several).finish()
    gradient = _gradient(one)
    assert max(float(value.abs().max()) for value in gradient.values()) > 1e-3
    assert difference(gradient, _gradient(together)) <= 1e-6
