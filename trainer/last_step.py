"""ValidateLastStep: a run that `max_steps` ends within an epoch is validated like any other."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class ValidateLastStep(pl.Callback):
    """Lightning validates only at the rhythm of epochs, or when it is asked to stop: so ask."""

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether the batch that ends now is followed by a validation.

    A checkpoint of this moment is not to be: the run that goes on from it would, as Lightning
    has it, take the validation for done.
    """
    fetcher = trainer.fit_loop._data_fetcher  # noqa: SLF001 - tested, as is the next
    if fetcher is None or not trainer.enable_validation:
        return False
    return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)  # noqa: SLF001


def epoch_ends(trainer: pl.Trainer) -> bool:
    """Whether this is the epoch's last batch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
