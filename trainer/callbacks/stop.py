"""Ending a run on a signal, at a moment when nothing is lost."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import distributed

from trainer.batch_end import can_be_saved
from trainer.errors import Interrupted, Stopped

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from trainer.checkpoints.manager import CheckpointManager

log = logging.getLogger(__name__)
_ERRORS: dict[int, type[Stopped]] = {signal.SIGTERM: Stopped, signal.SIGINT: Interrupted}


class StopSignals:
    """While entered, SIGTERM and Ctrl-C end the run: between batches if `armed`, else at once.

    A second signal does not wait for the batch, unless this is `patient`, as one process of
    several must be: it would leave the others waiting.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.armed = False
        self._patient = patient
        self.requested: type[Stopped] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may handle signals; elsewhere the program's own handling stays.
        if threading.current_thread() is threading.main_thread():
            for signum in _ERRORS:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        error = _ERRORS[signum]
        name = signal.Signals(signum).name
        if not self.armed or (self.requested is not None and not self._patient):
            raise error(f"stopped by {name}")
        if self.requested is None and not self._patient:
            log.warning("%s: stopping after this batch", name)
        self.requested = error


class StopAtBatch(pl.Callback):
    """Raises what the signal asked for when a batch is done, with a checkpoint of that moment.

    A validation is finished first, also one that follows the batch, and so is a step of several
    batches: half of one cannot be saved.
    """

    def __init__(self, signals: StopSignals, manager: CheckpointManager) -> None:
        self._signals = signals
        self._manager = manager

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._signals.armed = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._signals.armed = False

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        if can_be_saved(trainer):
            self._stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._stop(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        error = self._signals.requested
        if error is not None:
            self._save_and_raise(trainer, error)

    def _save_and_raise(self, trainer: pl.Trainer, error: type[Stopped]) -> None:
        if trainer.training or trainer.validating:
            self._manager.save_last(trainer)
        self._manager.drain()
        where = f"at step {trainer.global_step}"
        saved = f"; {self._manager.last} is its checkpoint" if self._manager.last else ""
        raise error(f"stopped {where}{saved}")


class StopTogether(StopAtBatch):
    """The same in several processes, which must all stop after the same training batch.

    After each batch they vote, on a group of its own, and look at the result after the next one:
    by then it is there, so that no step waits for it. A test is finished first, too, because
    processes may have different numbers of its batches.
    """

    def __init__(self, signals: StopSignals, manager: CheckpointManager) -> None:
        super().__init__(signals, manager)
        self._group: Any = None
        self._vote = torch.zeros(1, dtype=torch.int32)
        self._pending: Any = None
        self._decided = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._group = distributed.new_group(backend="gloo")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._decided = self._decided or self._agreed()
        if can_be_saved(trainer):
            self._stop(trainer)
        self._vote.fill_(1 if self._signals.requested else 0)
        self._pending = distributed.all_reduce(self._vote, group=self._group, async_op=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._agreed()

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Not here: see above."""

    def _stop(self, trainer: pl.Trainer) -> None:
        if self._decided:
            self._save_and_raise(trainer, self._signals.requested or Stopped)

    def _agreed(self) -> bool:
        """Whether any process wanted to stop at the last vote."""
        if self._pending is None:
            return False
        self._pending.wait()
        self._pending = None
        return bool(self._vote.item())
