"""RecordMetrics: a step's training metrics are on record before a checkpoint of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl

from trainer.batch_end import epoch_ends

if TYPE_CHECKING:
    from trainer.lightning_model import LightningModel


class RecordMetrics(pl.Callback):
    """Stands before the callbacks that save: Lightning calls the module's own hooks after theirs,
    and a run that is killed in between goes on from the checkpoint, past that record.
    """

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        *args: Any,  # noqa: ARG002
    ) -> None:
        cast("LightningModel", pl_module).record_metrics(ends=epoch_ends(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Of an epoch that the run ends within."""
        cast("LightningModel", pl_module).record_metrics(ends=True)
