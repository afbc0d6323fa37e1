from __future__ import annotations

import json
import time

import pytest
import torch
from omegaconf import OmegaConf

from trainer.checkpoints.checkpoint import read_checkpoint, verify_checkpoint
from trainer.errors import CheckpointError, ConfigError, DataError, TrainerError
from trainer.metrics.metric import read_metrics
from trainer.run import train


def _summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_run_leaves_config_summary_checkpoints_and_pictures(trained):
    summary = _summary(trained)
    assert summary["status"] == "finished"
    assert summary["steps"] == 44
    assert summary["metrics"]["test/accuracy"] > 0.8
    assert set(summary) >= {"run_id", "best_checkpoint", "last_checkpoint", "metrics", "name"}
    for name in ("best_checkpoint", "last_checkpoint"):
        assert verify_checkpoint(trained / "checkpoints" / f"{name.split('_')[0]}.ckpt")
        assert summary[name].startswith(str(trained))
    assert OmegaConf.load(trained / "config.yaml").data.height == 8
    assert (trained / "pictures" / "learning_curves.png").is_file()
    assert (trained / "pictures" / "confusion_matrix.png").is_file()


def test_run_tests_the_best_weights_and_not_the_last(config, tmp_path):
    metrics = train(config("trainer.max_epochs=3", "optim.lr=0.02"), folder=tmp_path / "run")
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert metrics["val/accuracy"] == best["trainyard"]["metrics"]["val/accuracy"]
    values = [
        row.value
        for row in read_metrics(tmp_path / "run" / "metrics.csv")
        if row.name == "val/accuracy"
    ]
    assert metrics["val/accuracy"] == pytest.approx(max(values))


def test_run_repeats_itself_when_nothing_changed(config, tmp_path):
    first = train(config(), folder=tmp_path / "a")
    second = train(config(), folder=tmp_path / "b")
    other = train(config("seed=1"), folder=tmp_path / "c")
    assert first == second
    assert first != other


@pytest.mark.parametrize("start", ["step-00000030", "step-00000044"])
def test_run_goes_on_exactly_where_a_checkpoint_was(config, tmp_path, start):
    settings = ("model=resnet_tiny", "model.widths=[4,4,4]", "model.dropout=0.2", "data=digits")
    settings += ("data.augmentation.shift=1", "data.augmentation.rotate=10")
    cfg = config(*settings, "trainer.max_epochs=3", "callbacks.save_every_steps=30")
    cfg.callbacks.keep_last = 10
    train(cfg, folder=tmp_path / "whole")
    cfg.resume = str(tmp_path / "whole" / "checkpoints" / f"{start}.ckpt")
    train(cfg, folder=tmp_path / "resumed")
    whole = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    resumed = read_checkpoint(tmp_path / "resumed" / "checkpoints" / "last.ckpt")
    assert resumed["global_step"] == whole["global_step"] == 66
    for name, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name


def test_run_refuses_to_resume_when_the_checkpoint_is_another_models(config, checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="another model"):
        train(config("model.hidden=[8]", f"resume={checkpoint}"), folder=tmp_path / "run")
    assert _summary(tmp_path / "run")["status"] == "failed"


def test_run_refuses_to_resume_when_the_checkpoint_is_damaged(config, checkpoint, tmp_path):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        train(config(f"resume={checkpoint}"), folder=tmp_path / "run")
    assert "damaged" in _summary(tmp_path / "run")["error"]


def test_run_fails_with_a_remedy_when_the_loss_is_no_number(config, tmp_path):
    cfg = config("optim=sgd", "optim.lr=1e30", "trainer.gradient_clip=null", "trainer.log_every=1")
    with pytest.raises(TrainerError, match="no longer a number") as caught:
        train(cfg, folder=tmp_path / "run")
    assert "optim.lr" in caught.value.remedy
    assert _summary(tmp_path / "run")["status"] == "failed"


def test_run_refuses_a_folder_when_a_finished_run_of_something_else_is_in_it(config, trained):
    with pytest.raises(ConfigError, match="finished run with another model"):
        train(config("model.hidden=[8]"), folder=trained)
    assert _summary(trained)["status"] == "finished"


def test_run_ends_without_validation_or_test_when_there_are_no_such_data(config, tmp_path):
    cfg = config("data.val_fraction=0", "data.test_fraction=0")
    assert train(cfg, folder=tmp_path / "run") == {}
    summary = _summary(tmp_path / "run")
    assert summary["best_checkpoint"] is None
    assert summary["last_checkpoint"].endswith("last.ckpt")


def test_run_refuses_patience_when_there_is_nothing_to_watch(config, tmp_path):
    with pytest.raises(DataError, match=r"callbacks\.patience"):
        train(config("data.val_fraction=0", "callbacks.patience=1"), folder=tmp_path / "run")


def test_run_stops_early_when_nothing_improves(config, tmp_path):
    cfg = config("callbacks=early_stopping", "callbacks.patience=1", "optim.lr=1e-12")
    cfg.trainer.max_epochs = 50
    train(cfg, folder=tmp_path / "run")
    assert _summary(tmp_path / "run")["steps"] == 44


def test_run_keeps_no_checkpoint_when_told_not_to(config, tmp_path):
    train(config("callbacks=none"), folder=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_run_keeps_the_latest_checkpoints_when_told_how_many(config, tmp_path):
    cfg = config("callbacks.keep_last=2", "callbacks.save_every_steps=5", "trainer.max_epochs=2")
    train(cfg, folder=tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    steps = sorted(path.name for path in folder.glob("step-*.ckpt"))
    assert steps == ["step-00000040.ckpt"]
    assert verify_checkpoint(folder / "last.ckpt")["step"] == 44
    assert verify_checkpoint(folder / steps[0])["step"] == 40


def test_run_can_validate_within_an_epoch(config, tmp_path):
    train(config("trainer.val_every=0.5"), folder=tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row.step for row in rows if row.name == "val/accuracy"] == [11, 22]


def test_run_is_validated_when_its_steps_end_within_an_epoch(config, tmp_path):
    metrics = train(config("trainer.max_steps=7"), folder=tmp_path / "run")
    assert "val/accuracy" in metrics
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row.step for row in rows if row.name == "val/accuracy"] == [7]
    assert verify_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["step"] == 7


@pytest.mark.parametrize(
    "overrides",
    [
        ["debug=fast"],
        ["debug=overfit", "trainer.max_epochs=2"],
        ["precision=bf16"],
        ["trainer.accumulate=4"],
        ["trainer.max_epochs=-1", "trainer.max_steps=7"],
        ["optim=sgd", "optim.schedule=constant"],
        ["loss.label_smoothing=0.1"],
        ["data.balance=weights"],
        ["trainer.deterministic=true"],
        ["trainer.progress=bar"],
        ["trainer.progress=lines"],
        ["strategy=ddp"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_run_finishes_with_every_kind_of_setting(config, tmp_path, overrides):
    train(config(*overrides), folder=tmp_path / "run")
    assert _summary(tmp_path / "run")["status"] == "finished"


def test_overfitting_one_batch_brings_the_loss_down(config, tmp_path):
    train(config("debug=overfit", "trainer.max_epochs=30"), folder=tmp_path / "run")
    losses = [
        row.value
        for row in read_metrics(tmp_path / "run" / "metrics.csv")
        if row.name == "train/loss"
    ]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_run_folder_that_cannot_be_made_is_named(config, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=place) as caught:
        train(config(), folder=tmp_path / place)
    assert caught.value.field == "hydra.run.dir"


def test_an_epoch_that_is_gone_on_with_is_timed_from_there(config, tmp_path, caplog):
    cfg = config("trainer.progress=lines", "callbacks.save_every_steps=5")
    train(config("trainer.max_steps=5", "trainer.max_epochs=-1"), folder=tmp_path / "part")
    cfg.resume = str(tmp_path / "part/checkpoints/last.ckpt")
    began = time.perf_counter()
    with caplog.at_level("INFO"):
        train(cfg, folder=tmp_path / "rest")
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch 1/1"))
    assert float(line.split()[-2]) < time.perf_counter() - began


def test_model_that_does_not_fit_into_memory_is_an_error_with_a_remedy(config, tmp_path):
    with pytest.raises(TrainerError, match="out of memory") as caught:
        train(config("model.hidden=[1000000000000]"), folder=tmp_path)
    assert caught.value.exit_code == 1
    assert "smaller model" in caught.value.remedy
    assert _summary(tmp_path)["status"] == "failed"


def test_run_that_has_more_epochs_behind_it_than_it_is_given_is_told_so(config, tmp_path):
    train(config("trainer.max_epochs=3"), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=1") as caught:
        train(config("trainer.max_epochs=1", "resume=" + str(tmp_path / "checkpoints/last.ckpt")),
              folder=tmp_path / "other")  # fmt: skip
    assert caught.value.field == "trainer.max_epochs"


def test_checkpoint_that_does_not_fit_into_memory_is_not_called_unsafe(
    config, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(TrainerError, match="out of memory"):
        train(config(), folder=tmp_path)
