"""UnfinishedEpoch: a resumed run goes on with the epoch that it was in, and repeats no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnfinishedEpoch(pl.Callback):
    """Lightning counts an epoch as done as soon as the run ends in it, and therefore takes none
    for done where `max_steps` is set: resumed at the end of an epoch, such a run would go through
    that epoch once more, without a batch (Lightning#19617).

    Here an epoch is done when its last batch is. A checkpoint of that moment, before Lightning has
    counted the batch, becomes the one that the end of the epoch would have left: else the next
    checkpoint would count one epoch too few, and who resumes from that would repeat one.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        trainer.fit_loop._iteration_based_training = _never  # type: ignore[method-assign]  # noqa: SLF001 - tested

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Called before the loops are given their state."""
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        last = epoch_had_ended(checkpoint)
        for count in (epochs["current"], epochs["total"]):
            count["processed"] = count["started"] if last else max(0, count["started"] - 1)
        if last and batches["current"]["completed"] < batches["current"]["processed"]:
            for count in (batches["current"], batches["total"]):
                count["completed"] = count["processed"]
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def epoch_had_ended(checkpoint: Mapping[str, Any]) -> bool:
    """Whether no batch of the checkpoint's epoch was left."""
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return bool(batches["is_last_batch"])


def _never() -> bool:
    return False
