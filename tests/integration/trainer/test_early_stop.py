"""A run that ends early ends at the same step when it was stopped on its way, and stays ended."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.trainer.conftest import stop_at
from tests.training import same, train_tiny, weights
from trainer.errors import Stopped
from trainer.lightning_model import LightningModel
from trainer.metrics.metric import read_metrics

EARLY = ("callbacks.patience=2", "optim.lr=1e-12", "trainer.max_epochs=30")
"""The first validation is the best: the third ends the run."""


def stop_in_test(folder, *overrides):
    def stopping(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightningModel, "test_step", stopping)
        with pytest.raises(Stopped):
            train_tiny(folder, *overrides)


def last_step(folder):
    return max(row.step for row in read_metrics(folder / "metrics.csv"))


@pytest.mark.parametrize(("every", "step"), [("1", 10), ("1", 12), ("0.4", 4), ("0.4", 5)])
def test_validations_are_counted_once_when_the_run_was_stopped(tmp_path, every, step):
    options = (*EARLY, f"trainer.val_every={every}")
    train_tiny(tmp_path / "whole", *options)
    stop_at(tmp_path / "run", step, *options)
    train_tiny(tmp_path / "run", *options)
    assert last_step(tmp_path / "whole") == (15 if every == "1" else 7)
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("run", "whole")]
    assert texts[0] == texts[1]
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "run" / last), weights(tmp_path / "whole" / last))


def test_run_is_not_trained_on_when_its_test_was_stopped(tmp_path):
    train_tiny(tmp_path / "whole", *EARLY)
    stop_in_test(tmp_path / "run", *EARLY)
    assert train_tiny(tmp_path / "run", *EARLY).keys() >= {"test/accuracy", "val/accuracy"}
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("run", "whole")]
    assert texts[0] == texts[1]


def test_run_goes_on_when_it_is_given_more_patience(tmp_path):
    stop_in_test(tmp_path, *EARLY)
    train_tiny(tmp_path, *EARLY, "callbacks.patience=4")
    assert last_step(tmp_path) == 25
