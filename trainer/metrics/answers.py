"""Answers: gathers what the model says to the test split, over all batches and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

from trainer.data.samples import NO_SAMPLE, UNREADABLE
from trainer.metrics.predictions import Predictions
from trainer.parallel.group import is_joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.data.samples import IntArray


class Answers:
    """A few numbers a sample, kept on the device until the end.

    Process `rank` of n must hold every n-th sample of each batch, from `rank` on, as EvalSampler
    deals them: then no sample is counted twice, and their order is the split's.
    """

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._rows: np.ndarray[Any, Any] | None = None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """A batch: float32 logits (batch, num_classes), labels (batch,) or what is no label."""
        probabilities = logits.softmax(dim=1)
        confidence, predicted = probabilities.max(dim=1)
        truth = functional.one_hot(labels.clamp(min=0), logits.shape[1])
        squared_error = (probabilities - truth).square().sum(dim=1)
        columns = [labels, predicted, confidence, squared_error]
        self._batches.append(torch.stack([column.float() for column in columns], dim=1))

    def gather(self) -> None:
        """Bring those of all processes, which all call this, together in each; it starts anew."""
        own = [batch.cpu().numpy() for batch in self._batches]  # (batch, 4) each
        own = [rows[rows[:, 0] != NO_SAMPLE] for rows in own]
        self._batches = []
        parts = [own]
        if is_joined():
            parts = [[] for _ in range(distributed.get_world_size())]
            distributed.all_gather_object(parts, own)
        batches = [
            _interleave([part[number] for part in parts if number < len(part)])
            for number in range(max(map(len, parts)))
        ]
        self._rows = np.concatenate(batches) if batches else None  # (n, 4)

    def predictions(self, *, labels: Sequence[str], indices: IntArray) -> Predictions | None:
        """What was gathered last, but of unreadable samples; None if that was nothing.

        `indices`: the samples' positions in the data set, in the split's order.
        """
        if self._rows is None:
            return None
        known = self._rows[:, 0] != UNREADABLE
        label, predicted, confidence, squared_error = self._rows[known].T
        return Predictions(
            # A debug run tests fewer than there are.
            index=np.asarray(indices[: len(known)][known], np.int64),
            label=label.astype(np.int32),
            predicted=predicted.astype(np.int32),
            confidence=confidence,
            squared_error=squared_error,
            labels=tuple(labels),
        )


def _interleave(shares: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Every process's share of one batch, (b, 4) each, in the order of the samples."""
    whole = np.empty((sum(map(len, shares)), 4), np.float32)
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole
