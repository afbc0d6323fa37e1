from __future__ import annotations

import json
import os
import signal

import pytest
import pytorch_lightning as pl
import torch

from trainer import setup
from trainer.callbacks.stop import StopSignals
from trainer.checkpoints.checkpoint import verify_checkpoint
from trainer.checkpoints.content import load_plain
from trainer.data.sources.hf import HfSource
from trainer.errors import Interrupted, Stopped
from trainer.lightning_model import LightningModel
from trainer.models import pretrained
from trainer.report import leave
from trainer.run import train


class SendSignal(pl.Callback):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, signum, hook, step=5):
        self.signum = signum
        self.hook = hook
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if self.hook == "train" and trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)

    def on_validation_start(self, trainer, *args):
        if self.hook == "validation":
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize("hook", ["train", "validation"])
@pytest.mark.parametrize(
    ("signum", "error", "code"),
    [(signal.SIGTERM, Stopped, 143), (signal.SIGINT, Interrupted, 130)],
)
def test_run_saves_and_stops_when_a_signal_comes(
    config, tmp_path, monkeypatch, *, signum, error, code, hook
):
    sender = SendSignal(signum, hook)
    monkeypatch.setattr(setup, "progress_callbacks", lambda _: [sender])
    before = signal.getsignal(signum)
    with pytest.raises(error) as caught:
        train(config(), folder=tmp_path / "run")
    assert caught.value.exit_code == code
    assert signal.getsignal(signum) == before
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    step = verify_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["step"]
    assert step == summary["steps"] == (6 if hook == "train" else 22)


def test_run_saves_and_stops_when_the_signal_comes_after_the_batchs_hooks(
    config, tmp_path, monkeypatch
):
    real = LightningModel.on_train_batch_end

    def after_the_callbacks(self, *args):
        real(self, *args)
        if self.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(LightningModel, "on_train_batch_end", after_the_callbacks)
    with pytest.raises(Stopped):
        train(config(), folder=tmp_path / "run")
    assert verify_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["step"] == 6


def test_stopped_run_goes_on_to_the_same_end(config, tmp_path, monkeypatch):
    cfg = config("trainer.max_epochs=2")
    whole = train(cfg, folder=tmp_path / "whole")
    monkeypatch.setattr(
        setup, "progress_callbacks", lambda _: [SendSignal(signal.SIGTERM, "train")]
    )
    with pytest.raises(Stopped):
        train(cfg, folder=tmp_path / "stopped")
    monkeypatch.undo()
    cfg.resume = str(tmp_path / "stopped" / "checkpoints" / "last.ckpt")
    assert train(cfg, folder=tmp_path / "resumed") == whole


def test_run_stopped_at_an_epochs_last_batch_and_then_again_goes_on_to_the_same_end(
    config, tmp_path, monkeypatch
):
    cfg = config("trainer.max_epochs=3", "trainer.val_every=3", "model.dropout=0.1")
    whole = train(cfg, folder=tmp_path / "whole")
    for step in (21, 26):  # an epoch has 22, and a record is made every 10
        sender = SendSignal(signal.SIGTERM, "train", step)
        monkeypatch.setattr(setup, "progress_callbacks", lambda _, sender=sender: [sender])
        with pytest.raises(Stopped):
            train(cfg, folder=tmp_path / "stopped")
        assert verify_checkpoint(tmp_path / "stopped/checkpoints/last.ckpt")["step"] == step + 1
    monkeypatch.undo()
    assert train(cfg, folder=tmp_path / "stopped") == whole
    records = [(tmp_path / name / "metrics.csv").read_text() for name in ("whole", "stopped")]
    assert records[0] == records[1]


def test_signal_ends_at_once_when_nothing_is_training():
    with StopSignals(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)


def test_second_signal_does_not_wait():
    with StopSignals() as signals:
        signals.armed = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.requested is Stopped
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_stops_in_the_middle_of_anything(tmp_path, monkeypatch):
    def stopping(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)

    datasets = pytest.importorskip("datasets")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(torch, "load", stopping)
    monkeypatch.setattr(datasets, "load_dataset", stopping)
    monkeypatch.setattr(hub, "snapshot_download", stopping)
    monkeypatch.setattr(leave, "read_run", stopping)
    weights = tmp_path / "weights.pt"
    weights.touch()
    for reading in (
        lambda: load_plain(weights),
        lambda: HfSource("owner/name").load(),
        lambda: pretrained._read_state(weights),
        lambda: pretrained._hub_folder("owner/name"),
        lambda: leave.leave_report(tmp_path),
    ):
        with StopSignals(), pytest.raises(Stopped):
            reading()
