"""UnfinishedEpoch: a resumed run goes on with the epoch that it was in, and repeats no other."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class UnfinishedEpoch(pl.Callback):
    """Lightning counts an epoch as done as soon as the run ends in it, and therefore takes none
    for done where `max_steps` is set: resumed at the end of an epoch, such a run would go through
    that epoch once more, without a batch (Lightning#19617).

    Here an epoch is done when its last batch is.
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
        counted_as_done = epochs["current"]["processed"] == epochs["current"]["started"]
        if counted_as_done and not batches["is_last_batch"]:
            for count in (epochs["current"], epochs["total"]):
                count["processed"] = count["started"] - 1


def _never() -> bool:
    return False
