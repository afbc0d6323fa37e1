"""CheckpointManager: which checkpoints a run keeps, and when they are written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from trainer.checkpoint import link_checkpoint, sidecar_path, verify_checkpoint
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)
BEST = "best.ckpt"
LAST = "last.ckpt"


class CheckpointManager(pl.Callback):
    """`best.ckpt` by a validation metric, `last.ckpt` after every epoch, older ones by their step.

    What is best and last at once is written once and linked.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str = "val/accuracy",
        maximise: bool = True,
        save_best: bool = True,
        save_last: bool = True,
        keep_last: int = 1,
        every_steps: int | None = None,
    ) -> None:
        if keep_last < 1 or (every_steps is not None and every_steps < 1):
            raise ConfigError(
                f"callbacks.keep_last={keep_last}, callbacks.save_every_steps={every_steps}:"
                " must be at least 1",
                field="callbacks.keep_last",
            )
        self.folder = folder
        self.best: Path | None = None
        self.best_rank: tuple[float, float] | None = None
        self.last: Path | None = None
        self._monitor = monitor
        self._maximise = maximise
        self._save_best = save_best
        self._save_last = save_last
        self._keep_last = keep_last
        self._every_steps = every_steps
        self._saved_step = 0
        self._improved = False

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        """Save between epochs if asked to."""
        step = trainer.global_step
        if self._every_steps and step != self._saved_step and step % self._every_steps == 0:
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """See whether this is the best so far."""
        if trainer.state.fn != "fit" or not self._save_best:
            return
        rank = self._rank(trainer)
        if self.best_rank is not None and rank <= self.best_rank:
            return
        self.best_rank = rank
        self._improved = True
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._write_best(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Save the epoch, and point `best.ckpt` to it if it is."""
        self.save_last(trainer)
        if self._improved:
            self._write_best(trainer)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt`; the one before it is kept under its step, if any are to be kept."""
        if not self._save_last:
            return
        path = self.folder / LAST
        if self._keep_last > 1:
            self._put_aside(path)
        trainer.save_checkpoint(path, weights_only=False)
        self.last = path
        self._saved_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        rank = list(self.best_rank) if self.best_rank else None
        return {"best_rank": rank, "best": str(self.best) if self.best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run competes with its former best only where that one lies in its folder."""
        if state_dict.get("best") == str(self.folder / BEST) and (self.folder / BEST).is_file():
            self.best = self.folder / BEST
            score, loss = state_dict["best_rank"]
            self.best_rank = (score, loss)

    def _write_best(self, trainer: pl.Trainer) -> None:
        self.best = self.folder / BEST
        self._improved = False
        if self.last is not None and self._saved_step == trainer.global_step:
            link_checkpoint(self.last, self.best)
        else:
            trainer.save_checkpoint(self.best, weights_only=False)

    def _rank(self, trainer: pl.Trainer) -> tuple[float, float]:
        """The larger the better. A small split gives many equal scores: the loss decides then."""
        metrics = trainer.callback_metrics
        if self._monitor not in metrics:
            known = ", ".join(sorted(name for name in metrics if name.startswith("val/")))
            raise ConfigError(
                f"callbacks.monitor={self._monitor}: there is no such metric; known: {known}",
                field="callbacks.monitor",
            )
        score = float(metrics[self._monitor])
        return (score if self._maximise else -score, -float(metrics["val/loss"]))

    def _put_aside(self, path: Path) -> None:
        """`last.ckpt` → `step-00000120.ckpt`; the oldest beyond `keep_last` go."""
        if path.is_file():
            step = int(verify_checkpoint(path).get("step", 0))
            link_checkpoint(path, self.folder / f"step-{step:08d}.ckpt")
        kept = sorted(self.folder.glob("step-*.ckpt"))
        for old in kept[: len(kept) - (self._keep_last - 1)]:
            old.unlink()
            sidecar_path(old).unlink(missing_ok=True)
