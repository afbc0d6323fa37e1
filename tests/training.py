"""Tiny real runs, in this process, for the tests of what a run leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from pathlib import Path

TINY = (
    "data=digits",
    "data.batch_size=256",
    "model=mlp",
    "model.hidden=[16]",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "trainer.progress=none",
    "trainer.max_epochs=4",
    "trainer.log_every=2",
    "tracking=none",
    "trainer.report=false",
)
"""Five steps an epoch, with dropout and augmentation."""


def train_tiny(folder: Path, *overrides: str) -> dict[str, float]:
    """What `train.py` with these overrides does."""
    cfg = compose("train", [*TINY, *overrides], schemas=register_schemas)
    return train(cfg, folder=folder)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Of the trained model and of its optimiser's moments, by name."""
    loaded = read_checkpoint(checkpoint)
    found = dict(loaded["state_dict"])
    for number, state in loaded["optimizer_states"][0]["state"].items():
        found |= {f"{number}.{name}": value for name, value in state.items()}
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """To the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
