"""Parity and batch invariance: the exported model says what the checkpoint says, in company too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bundle.finite import all_finite
from optimize.errors import ParityError

COMPANY = 32
"""Most rows that are answered at once, whatever the batches of the evaluation are."""

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor, Row
    from optimize.reference import Array, Predictor, Tensors


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two models' logits lie apart."""

    max_abs_diff: float
    """Largest difference of any logit."""
    tolerance: float
    """Largest that was accepted."""
    rows: int
    """Samples compared, made-up ones included."""
    shapes: int
    """Number of different input shapes compared."""


@dataclass(frozen=True, kw_only=True)
class Invariance:
    """What company changes: each sample answered alone and in a batch."""

    samples: int
    max_abs_diff: float
    flips: int
    """Samples whose answer is another one in a batch."""
    company: int
    """Rows in such a batch."""

    @property
    def holds(self) -> bool:
        return self.flips == 0


def check_parity(
    reference: Predictor, candidate: Predictor, batches: Iterable[Tensors], *, tolerance: float
) -> Parity:
    """Compare on every batch. Raises ParityError past `tolerance` and for answers not finite."""
    worst, rows, shapes = 0.0, 0, set()
    for batch in batches:
        shape = _shape(batch)
        first, second = reference(batch), candidate(batch)
        worst = max(worst, check_difference(first, second, tolerance=tolerance, where=shape))
        rows += len(first)
        shapes.add(shape)
    if not shapes:
        raise ParityError("there is nothing to compare the exported model on")
    return Parity(max_abs_diff=worst, tolerance=tolerance, rows=rows, shapes=len(shapes))


def check_difference(first: Array, second: Array, *, tolerance: float, where: str) -> float:
    """The largest difference of two models' logits. Raises ParityError past `tolerance`."""
    difference = max_difference(first, second, where=where)
    if difference > tolerance:
        raise ParityError(
            f"the exported model differs from the checkpoint by {difference:.3g} in a logit "
            f"({where}), more than optimize.tolerance={tolerance:g}",
            field="optimize.tolerance",
            remedy="try the other optimize.exporter or another optimize.opset",
        )
    return difference


def measure_invariance(
    candidate: Predictor,
    rows: Sequence[Row],
    preprocessor: DataPreprocessor,
    *,
    company: int = COMPANY,
) -> Invariance:
    """Answer every row alone, and again in a batch of `company`, or of as many as there are.

    A single row has only itself for company, which shows little: the gate asks for more.
    """
    size = max(2, min(company, len(rows)))
    worst, flips = 0.0, 0
    for start in range(0, len(rows), size):
        # The last ones fill their batch with the first.
        together = [rows[index % len(rows)] for index in range(start, start + size)]
        chunk = rows[start : start + size]
        answers = candidate(preprocessor.collate(together))[: len(chunk)]
        alone = np.concatenate([candidate(preprocessor.collate([row])) for row in chunk])
        worst = max(worst, max_difference(alone, answers, where="alone against batched"))
        flips += int(np.count_nonzero(alone.argmax(axis=1) != answers.argmax(axis=1)))
    return Invariance(samples=len(rows), max_abs_diff=worst, flips=flips, company=size)


def max_difference(first: Array, second: Array, *, where: str) -> float:
    """Largest absolute difference. Raises ParityError if the shapes differ or one is not finite."""
    if first.shape != second.shape:
        raise ParityError(f"the outputs' shapes differ: {first.shape}, {second.shape} ({where})")
    if not (all_finite(first) and all_finite(second)):
        raise ParityError(f"an output holds NaN or infinity ({where}); the weights are unusable")
    return float(np.abs(first.astype(np.float64) - second.astype(np.float64)).max(initial=0.0))


def _shape(batch: Tensors) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in batch.items())
