"""Property 7: a checkpoint holds all that is needed to go on, to export and to know what it is."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from trainer.checkpoints.checkpoint import KEY, read_checkpoint, sidecar_path
from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas

RUNS = {
    "image": ("data=digits", "model=resnet_tiny", "model.widths=[4,4,4]"),
    "text": (
        "data=reviews",
        "data.limit=64",
        "data.max_length=16",
        "data.vocab_size=200",
        "model=bert_tiny",
        "model.width=16",
        "model.layers=1",
        "model.feed_forward=16",
    ),
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    small = ("tracking=none", "trainer.max_steps=4", "trainer.limit_val_batches=1")
    quiet = ("trainer.progress=none", "trainer.limit_test_batches=1", "trainer.threads=1")
    cfg = compose("train", [*RUNS[request.param], *small, *quiet], schemas=register_schemas)
    train(cfg, folder=folder)
    return request.param, folder, read_checkpoint(folder / "checkpoints" / "last.ckpt")


def test_property_07_weights_of_every_layer_are_there(run):
    _, _, saved = run
    names = [name for name in saved["state_dict"] if name.startswith("model.")]
    trained = saved["optimizer_states"][0]["param_groups"]
    assert sum(len(group["params"]) for group in trained) <= len(names)
    assert all(torch.isfinite(saved["state_dict"][name].float()).all() for name in names)


def test_property_07_optimiser_and_schedule_are_there(run):
    _, _, saved = run
    (optimizer,) = saved["optimizer_states"]
    (schedule,) = saved["lr_schedulers"]
    parameters = [index for group in optimizer["param_groups"] for index in group["params"]]
    assert set(optimizer["state"]) == set(parameters)
    for state in optimizer["state"].values():
        assert {"step", "exp_avg", "exp_avg_sq"} <= set(state)
        assert state["step"] == 4
    assert schedule["last_epoch"] == 4


def test_property_07_place_in_the_training_is_there(run):
    kind, _, saved = run
    assert saved["global_step"] == 4
    assert saved["epoch"] == (0 if kind == "image" else 1)
    assert "fit_loop" in saved["loops"]


def test_property_07_description_is_complete_and_plain(run):
    kind, folder, saved = run
    own = saved[KEY]
    summary = json.loads((folder / "summary.json").read_text())
    assert own == json.loads(json.dumps(own))
    assert set(own) == {
        "schema",
        "config",
        "task",
        "labels",
        "preprocessing",
        "assets",
        "model",
        "data_fingerprint",
        "versions",
        "git_commit",
        "run_id",
        "metrics",
        "world_size",
        "train_window",
    }
    assert own["task"] == f"{kind}-classification"
    assert own["run_id"] == summary["run_id"]
    assert own["config"]["trainer"]["max_steps"] == 4
    assert own["preprocessing"]["kind"] == kind
    assert len(own["labels"]) == (10 if kind == "image" else 2)
    assert {"torch", "python", "pytorch-lightning"} <= set(own["versions"])
    assert set(own["metrics"]) == {"val/loss", "val/accuracy", "val/f1"}
    if kind == "text":
        content = own["assets"]["tokenizer.json"].encode()
        assert hashlib.sha256(content).hexdigest() == own["preprocessing"]["tokenizer_sha256"]


def test_property_07_sidecar_describes_the_file(run):
    _, folder, _ = run
    path = folder / "checkpoints" / "last.ckpt"
    sidecar = json.loads(sidecar_path(path).read_text())
    content = path.read_bytes()
    assert sidecar["sha256"] == hashlib.sha256(content).hexdigest()
    assert sidecar["bytes"] == len(content)
    assert sidecar["step"] == 4
    assert sidecar["world_size"] == 1
    assert {"schema", "epoch", "config_sha256", "versions", "created"} <= set(sidecar)
