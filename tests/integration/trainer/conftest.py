"""Runs that came to their end, and runs that did not."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.training import train_tiny
from trainer.errors import Stopped
from trainer.lightning_model import LightningModel

if TYPE_CHECKING:
    from pathlib import Path

SAVES = ("callbacks.save_every_steps=2", "callbacks.keep_last=3")
STOPPED_AT = 12
"""In the middle of the third epoch."""


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of twenty steps."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train_tiny(folder, *SAVES)
    return folder


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, ended by SIGTERM. Copy it before you go on in it."""
    folder = tmp_path_factory.mktemp("stopped")
    stop_at(folder, STOPPED_AT, *SAVES)
    return folder


@pytest.fixture
def dice() -> random.Random:
    """Moments that differ from one session to the next; TRAINYARD_DICE repeats those of one."""
    seed = int(os.environ.get("TRAINYARD_DICE", random.SystemRandom().randrange(2**32)))
    print(f"TRAINYARD_DICE={seed}")
    return random.Random(seed)


def stop_at(folder: Path, step: int, *overrides: str) -> None:
    """Send this process SIGTERM in the middle of a step, in its first batch."""
    training_step = LightningModel.training_step
    sent = []

    def stopping(self, batch, batch_idx):
        if self.global_step == step - 1 and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightningModel, "training_step", stopping)
        with pytest.raises(Stopped, match=f"at step {step}"):
            train_tiny(folder, *overrides)
