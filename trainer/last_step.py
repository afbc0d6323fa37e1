"""ValidateLastStep: a run that `max_steps` ends within an epoch is validated like any other."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class ValidateLastStep(pl.Callback):
    """Lightning validates only at the rhythm of epochs, or when it is asked to stop: so ask."""

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
