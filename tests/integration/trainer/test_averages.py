"""Averaged weights in two processes whose batch normalisation is each its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from tests.training_run import RESNET, TWO, TrainingRun
from trainer.data.samples import LABEL
from trainer.restore import restore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def test_validation_is_of_the_model_that_is_saved_when_processes_have_statistics_of_their_own(
    tmp_path: Path,
) -> None:
    average = ("callbacks.ema_decay=0.9", "trainer.sync_batchnorm=false", "trainer.max_epochs=1")
    run = TrainingRun(tmp_path / "run", *TWO, *average, model=RESNET).finish()
    restored = restore(run.folder / "checkpoints" / "best.ckpt")
    loss = count = 0.0
    with torch.inference_mode():
        for batch in restored.data().val_dataloader():
            labels = batch.pop(LABEL)
            loss += float(
                functional.cross_entropy(restored.model(**batch), labels, reduction="sum")
            )
            count += len(labels)
    assert restored.metadata["metrics"]["val/loss"] == pytest.approx(loss / count, abs=1e-5)
