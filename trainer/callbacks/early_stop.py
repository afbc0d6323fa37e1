"""EarlyStop: ends a run whose validation gets no better, and stays so when it is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason

if TYPE_CHECKING:
    import pytorch_lightning as pl


class EarlyStop(EarlyStopping):
    """Lightning's, but it counts a validation before a checkpoint of that moment is written.

    A run that goes on keeps what was counted, and takes its patience from its own config.
    """

    def __init__(self, *, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        """`patience`: validations in a row that may be no better; `min_delta`: what is better."""
        super().__init__(
            monitor=monitor,
            mode=mode,
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
        if self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """A run that had ended early is not trained on, whatever ended it before its test did."""
        diverged = self.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC
        if diverged or self.wait_count >= self.patience:
            trainer.should_stop = True
