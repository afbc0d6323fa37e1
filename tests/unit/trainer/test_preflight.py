from __future__ import annotations

import pytest
import torch

from trainer.errors import ConfigError, PreflightError
from trainer.launch import DistributedTrainer
from trainer.preflight import preflight

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")

TWO = ("trainer.accelerator=cpu", "trainer.devices=2")
NODES = ("trainer.accelerator=cpu", "trainer.num_nodes=3")


@no_gpu
def test_preflight_says_what_to_type_when_gpus_are_missing(config):
    with pytest.raises(PreflightError) as caught:
        preflight(config("trainer.devices=8"))
    assert str(caught.value) == (
        f"trainer.devices=8, but 0 GPUs were found (torch {torch.__version__})"
    )
    assert caught.value.remedy == "use trainer.accelerator=cpu trainer.devices=2 to simulate"
    assert caught.value.exit_code == 2


@no_gpu
@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["trainer.accelerator=gpu"], "0 GPUs"),
        (["precision=fp16"], "bf16"),
        (["strategy=fsdp"], "fsdp"),
        (["trainer.accelerator=cpu", "trainer.devices=2", "strategy=single"], "single"),
        (["trainer.devices=0"], "trainer.devices=0"),
        (["trainer.devices=-1"], "trainer.devices=-1"),
        (["trainer.devices=some"], "trainer.devices=some"),
        (["trainer.num_nodes=0"], "trainer.num_nodes=0"),
    ],
)
def test_preflight_refuses_when_the_machine_cannot(config, overrides, word):
    with pytest.raises(PreflightError, match=word):
        preflight(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["trainer.max_epochs=0"], "trainer.max_epochs"),
        (["trainer.devices=3", "trainer.accelerator=cpu", "data.batch_size=64"], "data.batch_size"),
        ([*NODES, "trainer.min_nodes=2", "data.batch_size=63"], "data.batch_size"),
        ([*NODES, "trainer.node_rank=3", "data.batch_size=63"], "trainer.node_rank"),
        ([*NODES, "trainer.node_rank=-1", "data.batch_size=63"], "trainer.node_rank"),
        (["callbacks=none", "callbacks.save_every_steps=5"], "callbacks.save_every_steps"),
        (["trainer.peak_tflops=-3"], "trainer.peak_tflops"),
        (["tracking.flush_timeout=-1"], "tracking.flush_timeout"),
        (["optim.betas=[0.9]"], "optim.betas"),
        (["optim.betas=[0.9,1.2]"], "optim.betas"),
        (["model.dropout=-0.1"], "model.dropout"),
        (["trainer.max_steps=0"], "trainer.max_epochs"),
        (["trainer.max_epochs=-1"], "trainer.max_steps"),
        (["trainer.val_every=0"], "trainer.val_every"),
        (["trainer.val_every=1.5"], "trainer.val_every"),
        (["trainer.accumulate=0"], "trainer.accumulate"),
        (["optim.lr=0"], "optim.lr"),
        (["optim.lr=-1"], "optim.lr"),
        (["optim.lr=nan"], "optim.lr"),
        (["optim.lr=inf"], "optim.lr"),
        (["optim.warmup=1.5"], "optim.warmup"),
        (["optim.floor=-0.1"], "optim.floor"),
        (["optim.weight_decay=-1"], "optim.weight_decay"),
        (["trainer.gradient_clip=0"], "trainer.gradient_clip"),
        (["trainer.limit_train_batches=1.5"], "trainer.limit_train_batches"),
        (["trainer.limit_train_batches=0"], "trainer.limit_train_batches"),
        (["trainer.threads=0"], "trainer.threads"),
        (["seed=-1"], "seed"),
        (["seed=99999999999999999999"], "seed"),
        (["tracking.experiment=' '"], "tracking.experiment"),
        (["loss.label_smoothing=1"], "loss.label_smoothing"),
        (["callbacks.keep_last=0"], "callbacks.keep_last"),
        (["callbacks.save_every_steps=0"], "callbacks.save_every_steps"),
        (["callbacks.patience=0"], "callbacks.patience"),
        (["callbacks.async_save=true", "callbacks.sharded=true"], "callbacks.async_save"),
        (["callbacks.monitor=val/acc"], "callbacks.monitor"),
        (["data=image_folder"], "data.root"),
        (["resume=nowhere.ckpt"], "resume"),
        (["resume=''"], "resume"),
        (["resume=tests"], "resume"),
        (["resume=README.md"], "resume"),
        (["trainer.max_restarts=-1"], "trainer.max_restarts"),
        (["trainer.min_nodes=2"], "trainer.min_nodes"),
        (["callbacks.ema_decay=1"], "callbacks.ema_decay"),
        ([*TWO, "strategy=fsdp", "callbacks.ema_decay=0.9"], "callbacks.ema_decay"),
        ([*TWO, "strategy=fsdp", "callbacks.sharded=true"], "callbacks.sharded"),
    ],
)
def test_preflight_names_the_field_when_a_value_cannot_be(config, overrides, field):
    with pytest.raises(ConfigError) as caught:
        preflight(config(*overrides))
    assert caught.value.field == field


@pytest.mark.parametrize("devices", ["auto", "1", "'1'"])
def test_preflight_takes_one_device_when_it_is_not_told_more(config, devices):
    plan = preflight(config(f"trainer.devices={devices}"))
    assert plan.world_size == 1


def test_preflight_refuses_before_it_makes_a_folder(config, tmp_path):
    with pytest.raises(PreflightError):
        DistributedTrainer(config("precision=fp16", "trainer.accelerator=cpu")).run(
            tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
