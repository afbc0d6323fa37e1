"""Run models over held-out samples, all of them on the very same batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optimize.held_out import read_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from optimize.reference import Array, Predictor


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What every model answered to the same samples."""

    labels: Array
    """int64 (samples,)"""
    logits: Mapping[str, Array]
    """Model → float32 (samples, classes)."""

    def correct(self, model: str) -> Array:
        """Whether each answer is right: bool (samples,)."""
        return np.asarray(self.logits[model].argmax(axis=1) == self.labels)

    def accuracy(self, model: str) -> float:
        return float(self.correct(model).mean())

    def agreement(self, model: str, other: str) -> float:
        """Share of samples to which both give the same answer."""
        same = self.logits[model].argmax(axis=1) == self.logits[other].argmax(axis=1)
        return float(same.mean())


def evaluate(
    models: Mapping[str, Predictor],
    samples: Sequence[Any],
    labels: Array,
    preprocessor: DataPreprocessor,
    *,
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Answer every raw sample with every model; `advance` hears of each batch's size.

    Raises OptimizeError for a sample that cannot be read.
    """
    answers: dict[str, list[Array]] = {name: [] for name in models}
    for start in range(0, len(samples), batch_size):
        rows = [
            read_row(samples, index, preprocessor)
            for index in range(start, min(start + batch_size, len(samples)))
        ]
        batch = preprocessor.collate(rows)
        for name, predict in models.items():
            answers[name].append(predict(batch))
        advance(len(rows))
    return Evaluation(
        labels=np.asarray(labels, dtype=np.int64),
        logits={name: np.concatenate(parts) for name, parts in answers.items()},
    )
