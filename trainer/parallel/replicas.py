"""ReplicaStrategy: a whole model in every process, the gradients averaged when a batch is done."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytorch_lightning.strategies import DDPStrategy
from torch import distributed

from trainer.parallel.gradients import GradientMean

if TYPE_CHECKING:
    from collections.abc import Iterator


class ReplicaStrategy(DDPStrategy):
    """DDP without torch's wrapper, which sends gradients while backward still makes them.

    A process that runs out of memory in backward would then leave the others waiting in the middle
    of a batch. Here `average_gradients` is called once no process can fail any more.
    """

    _mean: GradientMean | None = None
    _blocked = False

    def configure_ddp(self) -> None:
        """Make the copies equal; there is nothing to wrap."""
        module = self.lightning_module
        if module is None:
            raise RuntimeError("there is no model before the fit")
        for value in (*module.parameters(), *module.buffers()):
            distributed.broadcast(value.detach(), src=0)
        unused = bool(self._ddp_kwargs.get("find_unused_parameters"))
        self._mean = GradientMean(module.parameters(), find_unused=unused)

    def average_gradients(self) -> None:
        """Does nothing while batches are being added up."""
        if self._mean is not None and not self._blocked:
            self._mean()

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Entered around every batch but the last of those that are added up."""
        self._blocked = True
        try:
            yield
        finally:
            self._blocked = False

    def teardown(self) -> None:
        self._mean = None
        super().teardown()
