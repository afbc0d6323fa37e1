"""What the batch that ends now is followed by: asked before anything is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytorch_lightning as pl


def can_be_saved(trainer: pl.Trainer) -> bool:
    """Whether a checkpoint of this moment would lack nothing."""
    return not validation_follows(trainer) and not step_is_partial(trainer)


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether a validation follows.

    A checkpoint of this moment is not to be: the run that goes on from it would, as Lightning
    has it, take the validation for done.
    """
    fetcher = trainer.fit_loop._data_fetcher  # noqa: SLF001 - tested, as is the next
    if fetcher is None or not trainer.enable_validation:
        return False
    return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)  # noqa: SLF001


def step_is_partial(trainer: pl.Trainer) -> bool:
    """Whether gradients wait for more batches before the weights move (`trainer.accumulate`).

    No checkpoint has them.
    """
    return trainer.fit_loop.epoch_loop._should_accumulate()  # noqa: SLF001 - tested


def epoch_ends(trainer: pl.Trainer) -> bool:
    """Whether this is the epoch's last batch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
