from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest
import torch

from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.checkpoints.manager import CheckpointManager


@pytest.mark.parametrize("monitor", ["val/accuracy", "val/loss"])
def test_manager_ranks_a_metric_that_is_no_number_last(tmp_path, monitor):
    manager = CheckpointManager(tmp_path, monitor=monitor, maximise=monitor != "val/loss")
    good = manager._rank({"val/accuracy": 0.5, "val/loss": 2.0})
    for metrics in (
        {"val/accuracy": 0.5, "val/loss": math.nan},
        {"val/accuracy": math.nan, "val/loss": math.nan},
    ):
        assert manager._rank(metrics) < good


def test_old_checkpoint_that_the_disk_does_not_let_go_stops_no_save(tmp_path, monkeypatch, caplog):
    manager = CheckpointManager(tmp_path, keep_last=2)
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path.name == "step-00000001.ckpt":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    for step in (1, 2, 3):
        state = {"global_step": step, "state_dict": {"w": torch.ones(1)}}
        manager.writer.save_checkpoint(state, tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3
    assert read_checkpoint(tmp_path / "step-00000002.ckpt")["global_step"] == 2
    assert "step-00000001.ckpt: cannot be removed (Operation not permitted)" in caplog.text
