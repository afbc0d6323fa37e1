"""ValidationTimes: where the weights have just moved, and at a last step within an epoch."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from trainer.batch_end import step_is_partial


class ValidationTimes(pl.Callback):
    """Lightning validates at the rhythm of batches and epochs, or when it is asked to stop.

    One that is due while gradients are accumulated is put off to the step: it would be of the
    weights before, and a checkpoint of it would lose the gradients.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        if stage != "fit" or trainer.accumulate_grad_batches == 1:
            return
        loop = trainer.fit_loop.epoch_loop
        is_due = loop._should_check_val_fx  # noqa: SLF001 - tested

        def is_due_at_step(fetcher: Any) -> bool:
            return not step_is_partial(trainer) and (is_due(fetcher) or _was_due(trainer))

        loop._should_check_val_fx = is_due_at_step  # type: ignore[assignment, method-assign]  # noqa: SLF001

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        """A run that `max_steps` ends within an epoch is validated like any other."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True


def _was_due(trainer: pl.Trainer) -> bool:
    """Whether a validation was due at one of the batches since the last step."""
    loop, every = trainer.fit_loop.epoch_loop, trainer.val_check_batch
    if not isinstance(every, int) or not loop._should_check_val_epoch():  # noqa: SLF001
        return False
    done = loop.batch_idx + 1
    before = (done - 1) // trainer.accumulate_grad_batches * trainer.accumulate_grad_batches
    return before // every < done // every
