"""TrainWindow: the training metrics since the last record, of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from trainer.parallel.group import is_joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TrainWindow:
    """Sums over the batches since the last reading, kept on the device."""

    def __init__(self) -> None:
        self.read_at = 0
        """The step of the last reading."""
        self._sums: Tensor | None = None  # (3,): loss · samples, right answers, samples

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: its mean loss, logits (batch, num_classes) and labels (batch,)."""
        right = (logits.argmax(dim=1) == labels).sum()
        count = len(labels)
        sums = torch.stack([loss * count, right.to(loss.dtype), loss.new_tensor(float(count))])
        self._sums = sums if self._sums is None else self._sums.to(sums) + sums

    def read(self, step: int) -> tuple[float, float]:
        """Mean loss and accuracy of the window over all processes; it starts anew."""
        self.read_at = step
        if self._sums is not None and is_joined():
            distributed.all_reduce(self._sums)
        loss, right, count = self._sums.tolist() if self._sums is not None else (0.0, 0.0, 0.0)
        self._sums = None
        return loss / max(count, 1.0), right / max(count, 1.0)

    def state(self, device: torch.device) -> dict[str, object]:
        """What a checkpoint keeps: the step of the last reading, each process's sums.

        All processes call this; `device`: where they exchange them.
        """
        own = torch.zeros(3, device=device) if self._sums is None else self._sums.float()
        found = [own]
        if is_joined():
            found = [torch.zeros_like(own) for _ in range(distributed.get_world_size())]
            distributed.all_gather(found, own)
        return {"read_at": self.read_at, "sums": [sums.tolist() for sums in found]}

    def restore(self, state: Mapping[str, object], *, rank: int, world_size: int) -> None:
        """Go on from `state`. In another number of processes the first takes the sums of all."""
        sums: Sequence[Sequence[float]] = state["sums"]  # type: ignore[assignment]
        self.read_at = int(state["read_at"])  # type: ignore[call-overload]
        if len(sums) == world_size:
            self._sums = torch.tensor(sums[rank])
        elif rank == 0:
            self._sums = torch.tensor(sums).sum(dim=0)
        else:
            self._sums = torch.zeros(3)
