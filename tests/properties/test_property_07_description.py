"""Property 7: a checkpoint says what it is, and its sidecar repeats it."""

from __future__ import annotations

import json

import pytest

from tests.training import train_tiny
from trainer.checkpoints.checkpoint import KEY, read_checkpoint, sidecar_path

pytestmark = pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning")


@pytest.mark.parametrize("options", [(), ("callbacks.async_save=true",)])
def test_property_07_sidecar_and_checkpoint_agree(tmp_path, options):
    train_tiny(tmp_path, "trainer.max_epochs=1", "seed=4", *options)
    path = tmp_path / "checkpoints/last.ckpt"
    loaded, sidecar = read_checkpoint(path), json.loads(sidecar_path(path).read_text())
    own = loaded[KEY]
    assert set(loaded) >= {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks"}
    assert (sidecar["step"], sidecar["epoch"], sidecar["batch"]) == (5, 0, 5)
    assert sidecar["world_size"] == own["world_size"] == 1
    assert sidecar["versions"] == own["versions"]
    assert sidecar["run_id"] == own["run_id"]
    assert sidecar["randomness"]["seed"] == own["config"]["seed"] == 4
    assert len(sidecar["config_sha256"]) == len(sidecar["sha256"]) == 64
    assert "pending" not in sidecar
