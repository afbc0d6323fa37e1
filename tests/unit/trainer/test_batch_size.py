"""`data.batch_size=auto`: what it finds, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.training import same, train_tiny, weights
from trainer import batch_size
from trainer.batch_size import find_batch_size, largest
from trainer.checkpoints.checkpoint import read_description
from trainer.errors import ConfigError, DataError, TrainerError
from trainer.lightning_model import LightningModel
from trainer.parallel.group import Group
from trainer.preflight import Plan


@given(room=st.integers(2, 3000), limit=st.integers(2, 2000))
def test_largest_batch_fits_and_is_near_the_best_whatever_the_room(room, limit):
    found = largest(lambda size: size <= room, limit=limit)
    best = min(room, limit)
    assert best * 0.75 < found <= best or (best < 8 and best / 2 < found <= best)


def test_largest_batch_is_the_limit_when_memory_does_not_bite():
    assert largest(lambda size: True, limit=100) == 100


def test_largest_batch_is_none_when_nothing_fits():
    assert largest(lambda size: False, limit=100) == 0


AUTO = ("data.batch_size=auto", "data.max_batch_size=300")


def resolved(folder):
    return OmegaConf.load(folder / "config.yaml").data.batch_size


def test_run_uses_and_records_the_batch_that_was_found_when_the_size_is_auto(tmp_path):
    metrics = train_tiny(tmp_path / "auto", *AUTO)
    assert resolved(tmp_path / "auto") == 300
    assert train_tiny(tmp_path / "given", "data.batch_size=300") == metrics
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / "auto" / last), weights(tmp_path / "given" / last))
    # Asked again, it is the same finished run.
    assert train_tiny(tmp_path / "auto", *AUTO) == pytest.approx(metrics)


def test_run_goes_on_with_the_batch_that_was_found_when_the_limit_changed(tmp_path):
    train_tiny(tmp_path, *AUTO, "trainer.max_epochs=1")
    train_tiny(tmp_path, "data.batch_size=auto", "trainer.max_epochs=2")
    assert resolved(tmp_path) == 300
    assert read_description(tmp_path / "checkpoints/last.ckpt")["step"] == 2 * (1438 // 300)


def test_run_takes_less_when_a_larger_batch_runs_out_of_memory(tmp_path, monkeypatch):
    loss = LightningModel.loss

    def scarce(self, batch, count):
        if len(batch["label"]) > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, batch, count)

    monkeypatch.setattr(LightningModel, "loss", scarce)
    train_tiny(tmp_path, *AUTO, "trainer.max_epochs=1")
    assert resolved(tmp_path) == 48
    assert not (tmp_path / "events.jsonl").exists()


def test_size_is_refused_when_there_are_fewer_samples_than_processes(config):
    data = SimpleNamespace(splits=SimpleNamespace(train=range(3)))
    plan = Plan(accelerator="cpu", devices=4, nodes=1, min_nodes=1)
    group = Group(world_size=4, local_world_size=4)
    with pytest.raises(DataError, match="3 training samples are fewer than the 4 proc") as error:
        find_batch_size(config(), data, None, plan=plan, group=group)
    assert error.value.field == "data.batch_size"
    assert "data.batch_size=4" in error.value.remedy


def test_run_says_so_when_no_batch_fits(tmp_path, monkeypatch):
    def nothing(self, batch, count):
        raise MemoryError

    monkeypatch.setattr(LightningModel, "loss", nothing)
    with pytest.raises(TrainerError, match="batch_size=auto: not even 2 samples fit"):
        train_tiny(tmp_path, *AUTO)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.batch_size=foo"], r"data\.batch_size=foo must be a whole number or 'auto'"),
        (["data.batch_size=auto", "data.max_batch_size=0"], r"max_batch_size=0: must be at least"),
        (
            ["data.batch_size=auto", "strategy=fsdp", "trainer.devices=2"],
            "auto does not go with strategy=fsdp",
        ),
    ],
)
def test_size_is_refused_when_it_cannot_be_meant(overrides, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        train_tiny(tmp_path, *overrides)


def test_size_can_be_shared_by_the_machines_that_may_be_left(config, monkeypatch):
    monkeypatch.setattr(batch_size, "_Trial", lambda *args, **options: SimpleNamespace(fits=None))
    monkeypatch.setattr(batch_size, "largest", lambda fits, *, limit: limit)
    data = SimpleNamespace(splits=SimpleNamespace(train=range(47)))
    plan = Plan(accelerator="cpu", devices=2, nodes=3, min_nodes=2)
    assert find_batch_size(config(), data, None, plan=plan, group=Group()) == 36
    few = SimpleNamespace(splits=SimpleNamespace(train=range(11)))
    with pytest.raises(TrainerError, match="only a multiple of 12") as error:
        find_batch_size(config(), few, None, plan=plan, group=Group())
    assert error.value.remedy == "use trainer.min_nodes=3"
