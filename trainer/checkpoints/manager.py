"""CheckpointManager: which checkpoints a run keeps, and when they are written."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from trainer.batch_end import epoch_ends, step_is_partial, validation_follows
from trainer.checkpoints.checkpoint import (
    KEY,
    link_checkpoint,
    read_checkpoint,
    read_description,
    remove_checkpoint,
    verify_checkpoint,
)
from trainer.checkpoints.quarantine import quarantine
from trainer.checkpoints.resume import WRITTEN
from trainer.checkpoints.sharded import save_sharded
from trainer.checkpoints.writer import CheckpointWriter
from trainer.errors import CheckpointError, ConfigError
from trainer.events import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)
BEST = "best.ckpt"
LAST = "last.ckpt"


class CheckpointManager(pl.Callback):
    """`best.ckpt` by a validation metric, `last.ckpt` after every epoch, older ones by their step.

    What is best and last at once is written once and linked. `writer` goes to Lightning's trainer
    as its CheckpointIO.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str = "val/accuracy",
        maximise: bool = True,
        save_best: bool = True,
        save_last: bool = True,
        keep_last: int = 2,
        every_steps: int | None = None,
        background: bool = False,
        sharded: bool = False,
        resumed_from: Path | None = None,
    ) -> None:
        """`resumed_from`: the checkpoint in `folder` that this run goes on from."""
        self.folder = folder
        self.writer = CheckpointWriter(background=background, rotate=self._rotate)
        self.best: Path | None = None
        self.best_rank: tuple[float, float] | None = None
        self.last: Path | None = None
        self._best_step: int | None = None
        self._monitor = monitor
        self._maximise = maximise
        self._save_best = save_best
        self._save_last = save_last
        self._keep_last = keep_last
        self._every_steps = every_steps
        self._sharded = sharded
        self._resumed_from = resumed_from
        self._saved_step = 0
        self._is_marked = False
        self._improved = False
        self._owed = False
        """Whether a save waits for a validation."""
        if resumed_from is not None:
            self._find_saved()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take up the best and the last checkpoint of a run that goes on, if only to its test."""
        if self._resumed_from is None:
            return
        self._saved_step = int(read_description(self._resumed_from)["step"])
        if trainer.is_global_zero:
            self._take_up_best(self._resumed_from)
        ranked = trainer.strategy.broadcast((self.best_rank, self._best_step))
        self.best_rank, self._best_step = ranked
        self._find_saved()
        if self.best is None:
            self.best_rank = self._best_step = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        """Save between epochs if asked to; after the validation, if one follows."""
        if epoch_ends(trainer) or step_is_partial(trainer):
            return
        step = trainer.global_step
        if self._every_steps and step != self._saved_step and step % self._every_steps == 0:
            self._owed = validation_follows(trainer)
            if not self._owed:
                self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """See whether this is the best so far, and save what was put off."""
        if trainer.state.fn != "fit":
            return
        better = self._save_best and self._is_better(trainer)
        self._improved = self._improved or better
        owed, self._owed = self._owed, False
        if epoch_ends(trainer):
            return
        if owed:
            self.save_last(trainer)
        if better:
            self._write_best(trainer)

    def _is_better(self, trainer: pl.Trainer) -> bool:
        rank = self._rank(trainer.callback_metrics)
        if self.best_rank is not None and rank <= self.best_rank:
            return False
        self.best_rank = rank
        self._best_step = trainer.global_step
        return True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Save the epoch, and point `best.ckpt` to it if it is."""
        self.save_last(trainer)
        if self._improved:
            self._write_best(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Every process may read now what one of them has written."""
        self.drain()
        trainer.strategy.barrier("checkpoints written")

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        """Whatever ends the run, what was saved reaches the disk."""
        try:
            self.drain()
        except Exception as error:  # noqa: BLE001 - must not hide what ended the run
            if error is not exception:
                log.warning("%s", error)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt`; the one before it is kept under its step, if any are to be kept."""
        if not self._save_last:
            return
        self._save(trainer, self.folder / LAST)
        self.last = self.folder / LAST
        self._saved_step = trainer.global_step

    def whole_best(self) -> Path | None:
        """The best checkpoint or, loudly, the last one if that is damaged; None if there is none.

        The last one is not looked at: who reads it does. Only one process of a run may call this.
        """
        if self.best is not None and self._whole_step(self.best) is None:
            log.warning("falling back to %s: there is no better one left", self.last)
            record(self.folder.parent, "fallback", checkpoint=LAST)
            self.best = None
        return self.best or self.last

    def drain(self) -> None:
        """Wait until every checkpoint is on the disk. Raises CheckpointError if one is not."""
        self.writer.drain()

    def state_dict(self) -> dict[str, Any]:
        rank = list(self.best_rank) if self.best_rank else None
        return {"best_rank": rank, "best_step": self._best_step, "ranking": self._ranking}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A run that starts from another's checkpoint does not compete with that one's best."""
        if self._resumed_from is None or not state_dict.get("best_rank"):
            return
        ranking = state_dict.get("ranking", self._ranking)
        if ranking != self._ranking:
            log.warning(
                "the best was chosen by %s; from here on it is by %s", ranking, self._ranking
            )
            return
        score, loss = state_dict["best_rank"]
        self.best_rank, self._best_step = (score, loss), state_dict.get("best_step")

    @property
    def _ranking(self) -> str:
        return f"{self._monitor}, {'max' if self._maximise else 'min'}"

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        self._write(trainer, path)
        if trainer.is_global_zero and not self._is_marked:
            self._is_marked = True
            self.writer.after((self.folder.parent / WRITTEN).touch)

    def _write(self, trainer: pl.Trainer, path: Path) -> None:
        if not self._sharded:
            trainer.save_checkpoint(path, weights_only=False)  # the optimiser, too
            return
        # What Lightning's `save_checkpoint` saves; that one would write in one process only.
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._rotate(path, trainer.global_step)
        save_sharded(path, checkpoint)

    def _write_best(self, trainer: pl.Trainer) -> None:
        best = self.best = self.folder / BEST
        self._improved = False
        last = self.last
        if last is None or self._saved_step != trainer.global_step:
            self._save(trainer, best)
        elif trainer.is_global_zero:
            self.writer.after(lambda: link_checkpoint(last, best))

    def _find_saved(self) -> None:
        self.best = self.folder / BEST if (self.folder / BEST).exists() else None
        self.last = self.folder / LAST if (self.folder / LAST).exists() else None

    def _take_up_best(self, resumed_from: Path) -> None:
        """`best.ckpt` may be older than the checkpoint remembers, if a crash came between them,
        or newer, if a newer checkpoint was lost; or it may itself be damaged.
        """
        best = self.folder / BEST
        step = self._whole_step(best)
        if step == self._best_step:
            return
        if self._best_step is not None:
            for path in (resumed_from, self.folder / f"step-{self._best_step:08d}.ckpt"):
                if self._whole_step(path) == self._best_step:
                    link_checkpoint(path, best)
                    return
        if step is None:
            log.warning("the best checkpoint is lost: what is validated from here on is compared")
            self.best_rank = self._best_step = None
        else:
            self.best_rank = self._rank(read_checkpoint(best).get(KEY, {}).get("metrics", {}))
            self._best_step = step

    def _whole_step(self, path: Path) -> int | None:
        """The step of a checkpoint; None if there is none, or if it is damaged and put away."""
        if not path.exists():
            return None
        try:
            return int(verify_checkpoint(path)["step"])
        except CheckpointError as error:
            quarantine(self.folder.parent, path, error)
            return None

    def _rank(self, metrics: Mapping[str, Any]) -> tuple[float, float]:
        """The larger the better. A small split gives many equal scores: the loss decides then."""
        if self._monitor not in metrics:
            known = ", ".join(sorted(name for name in metrics if name.startswith("val/")))
            raise ConfigError(
                f"callbacks.monitor={self._monitor}: there is no such metric; known: {known}",
                field="callbacks.monitor",
            )
        score = float(metrics[self._monitor])
        rank = (score if self._maximise else -score, -float(metrics["val/loss"]))
        # NaN is not less than anything, and would be the best for ever.
        return (_or_worst(rank[0]), _or_worst(rank[1]))

    def _rotate(self, path: Path, step: int) -> None:
        """`last.ckpt` → `step-00000120.ckpt`; the oldest beyond `keep_last` go."""
        if path.name != LAST:
            return
        keep = self._keep_last - 1
        if keep and path.exists():
            self._put_aside(path, step)
        kept = sorted(self.folder.glob("step-*.ckpt"))
        for old in kept[: max(0, len(kept) - keep)]:
            try:
                remove_checkpoint(old)
            except CheckpointError as error:  # of no consequence to the one that is saved now
                log.warning("%s", error)

    def _put_aside(self, path: Path, step: int) -> None:
        try:
            before = int(read_description(path).get("step", 0))
            if before < step:
                link_checkpoint(path, self.folder / f"step-{before:08d}.ckpt")
        except CheckpointError as error:
            # It is about to be replaced by one that is whole.
            log.warning("not kept: %s", error)


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
