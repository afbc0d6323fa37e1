"""Heartbeat: tells the launcher that this process gets on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

if TYPE_CHECKING:
    from trainer.control import ControlFolder


class Heartbeat(pl.Callback):
    """A beat for every batch, and none where there are no batches."""

    def __init__(self, control: ControlFolder, *, rank: int) -> None:
        self._control = control
        self._rank = rank

    def on_train_batch_end(self, *args: Any) -> None:  # noqa: ARG002
        self._control.beat(self._rank)

    def on_validation_batch_end(self, *args: Any) -> None:  # noqa: ARG002
        self._control.beat(self._rank)

    def on_test_batch_end(self, *args: Any) -> None:  # noqa: ARG002
        self._control.beat(self._rank)

    def teardown(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._control.rest(self._rank)
