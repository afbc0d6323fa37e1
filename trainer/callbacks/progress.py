"""What a run tells while it trains: a bar on a terminal, and one line an epoch everywhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from trainer.lightning_model import LightningModel
from trainer.schema import Progress

log = logging.getLogger(__name__)
_PAUSE = 0.25
"""Least time between two drawings of the bar, in seconds."""
_MOST_SHARE = 0.01
"""Of the time that may go into drawing: where a drawing is slow, there are fewer."""


class EpochLines(pl.Callback):
    """One line an epoch, to the log."""

    def __init__(self) -> None:
        self._began = 0.0

    def on_train_start(self, *args: Any) -> None:  # noqa: ARG002
        """Lightning does not call the next where it goes on in an epoch."""
        self._began = time.perf_counter()

    def on_train_epoch_start(self, *args: Any) -> None:  # noqa: ARG002
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
        metrics = {**_latest(pl_module), **_validation_metrics(trainer)}
        metrics.pop("lr", None)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        seconds = time.perf_counter() - self._began
        epoch = trainer.current_epoch + 1
        log.info(
            "epoch %s%s  step %s  %s  %.1f s", epoch, last, trainer.global_step, shown, seconds
        )


class EpochBar(pl.Callback):
    """A bar for the epoch in progress; it disappears when the epoch's line is written."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: Any = None
        self._next = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As above."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._start(f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        if self._bar is None or now < self._next:
            return
        loss = _latest(pl_module).get("train/loss")
        text = "" if loss is None else f"loss {loss:.4f}"
        self._bar.update(self._task, completed=batch_idx + 1, metrics=text, refresh=True)
        drawn = time.perf_counter()
        self._next = drawn + max(_PAUSE, (drawn - now) / _MOST_SHARE)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._stop()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._start("test", None)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._stop()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._stop()

    def _start(self, title: str, total: float | None) -> None:
        self._stop()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._bar.start()
        known = None if total is None or total == float("inf") else total
        self._task = self._bar.add_task(title, total=known, metrics="")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def progress_callbacks(progress: Progress) -> list[pl.Callback]:
    """The bar comes first, so that it is gone when the line is written."""
    if progress is Progress.none:
        return []
    bar = progress is Progress.bar or (progress is Progress.auto and sys.stderr.isatty())
    return [EpochBar(), EpochLines()] if bar else [EpochLines()]


def _latest(module: pl.LightningModule) -> dict[str, float]:
    return module.latest if isinstance(module, LightningModel) else {}


def _validation_metrics(trainer: pl.Trainer) -> dict[str, float]:
    metrics = trainer.callback_metrics
    return {name: float(metrics[name]) for name in sorted(metrics) if name.startswith("val/")}
