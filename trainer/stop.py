"""Ending a run on a signal, at a moment when nothing is lost."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from trainer.errors import Interrupted, Stopped

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from trainer.checkpoint_manager import CheckpointManager

log = logging.getLogger(__name__)
_ERRORS: dict[int, type[Stopped]] = {signal.SIGTERM: Stopped, signal.SIGINT: Interrupted}


class StopSignals:
    """While entered, SIGTERM and Ctrl-C end the run: between batches if `armed`, else at once.

    A second signal does not wait for the batch.
    """

    def __init__(self) -> None:
        self.armed = False
        self.requested: type[Stopped] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if _may_handle():
            self._before = {signum: signal.getsignal(signum) for signum in _ERRORS}
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def install(self) -> None:
        """Take the signals, also from who took them since."""
        if _may_handle():
            for signum in _ERRORS:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        error = _ERRORS[signum]
        name = signal.Signals(signum).name
        if not self.armed or self.requested is not None:
            raise error(f"stopped by {name}")
        self.requested = error
        log.warning("%s: stopping after this batch", name)


class StopAtBatch(pl.Callback):
    """Raises what the signal asked for when a batch is done, with a checkpoint of that moment."""

    def __init__(self, signals: StopSignals, manager: CheckpointManager) -> None:
        self._signals = signals
        self._manager = manager

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._signals.armed = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._signals.armed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # Lightning has put its own handler in front of ours. It ends the run with exit code 0 and
        # without a checkpoint when the signal comes between two hooks.
        self._signals.install()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._signals.install()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._stop(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._stop(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ARG002
        self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        error = self._signals.requested
        if error is None:
            return
        if trainer.training or trainer.validating:
            self._manager.save_last(trainer)
        where = f"at step {trainer.global_step}"
        saved = f"; {self._manager.last} is its checkpoint" if self._manager.last else ""
        raise error(f"stopped {where}{saved}")


def _may_handle() -> bool:
    """Only the main thread may; elsewhere the program's own handling stays."""
    return threading.current_thread() is threading.main_thread()
