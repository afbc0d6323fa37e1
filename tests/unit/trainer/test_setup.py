from __future__ import annotations

from types import SimpleNamespace

import pytorch_lightning as pl
import torch
from torch import distributed, nn

from trainer.callbacks.average import WeightAverage
from trainer.callbacks.stop import StopSignals
from trainer.parallel.batchnorm import EqualBuffers
from trainer.parallel.group import Group
from trainer.setup import make_checkpoint_manager, make_trainer

MAIN = 7.0
"""What the buffers of the main process hold."""


class _Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.BatchNorm1d(3)


def test_averaged_statistics_are_those_of_the_main_process_when_they_are_validated(
    config, tmp_path, monkeypatch
):
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "GROUP_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    cfg = config("callbacks.ema_decay=0.9", "trainer.sync_batchnorm=false", "trainer.devices=2")
    trainer = make_trainer(
        cfg,
        SimpleNamespace(splits=SimpleNamespace(val=range(9))),
        accelerator="cpu",
        folder=tmp_path,
        loggers=[],
        signals=StopSignals(),
        manager=make_checkpoint_manager(cfg, tmp_path),
        group=Group(rank=1, world_size=2, local_rank=1, local_world_size=2),
    )
    monkeypatch.setattr(distributed, "broadcast", lambda buffer, src: buffer.fill_(MAIN))
    module = _Module()
    state = SimpleNamespace(global_step=0, state=SimpleNamespace(fn="fit"))
    ours = [c for c in trainer.callbacks if isinstance(c, WeightAverage | EqualBuffers)]
    assert len(ours) == 2
    for callback in ours:
        callback.on_fit_start(state, module)
    for callback in ours:
        callback.on_validation_start(state, module)
    assert torch.equal(module.model.running_mean, torch.full((3,), MAIN))
