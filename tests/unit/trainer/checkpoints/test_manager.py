from __future__ import annotations

import math

import pytest

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
