from __future__ import annotations

from types import SimpleNamespace

import pytorch_lightning as pl
from torch import nn

from tests.integration.trainer.conftest import stop_at
from tests.training import same, train_tiny, weights
from trainer.callbacks.average import WeightAverage


class Small(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(2, 2)


def test_average_of_a_checkpoint_follows_the_model_to_its_device():
    before = Small()
    state = {name: value.clone() for name, value in before.state_dict().items()}
    average = WeightAverage(0.9)
    average.on_load_checkpoint(None, before, {"state_dict": state, "current_weights": dict(state)})
    average.on_fit_start(SimpleNamespace(global_step=3), Small().to("meta"))
    assert {value.device.type for value in average._average.values()} == {"meta"}


def test_average_is_tested_also_when_no_checkpoint_is_kept(tmp_path):
    average = ("callbacks.ema_decay=0.9",)
    kept = train_tiny(tmp_path / "kept", *average, "callbacks.save_best=false")
    assert train_tiny(tmp_path / "none", *average, "callbacks=none").items() <= kept.items()


def test_run_goes_on_from_its_own_weights_when_it_is_averaged_no_more(tmp_path):
    train_tiny(tmp_path / "plain")
    stop_at(tmp_path / "run", 10, "callbacks.ema_decay=0.9")
    train_tiny(tmp_path / "run", "callbacks.ema_decay=null")
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "run" / last), weights(tmp_path / "plain" / last))


def test_average_of_several_batches_a_step_is_the_same_when_the_run_was_stopped(tmp_path):
    options = ("callbacks.ema_decay=0.9", "trainer.accumulate=2", "callbacks.save_every_steps=1")
    train_tiny(tmp_path / "whole", *options)
    stop_at(tmp_path / "run", 4, *options)
    train_tiny(tmp_path / "run", *options)
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "run" / last), weights(tmp_path / "whole" / last))
