"""Prediction: what a model's outputs mean to the one who asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.bfloat16 import as_numbers
from bundle.errors import EngineError
from bundle.finite import all_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.manifest import Manifest
    from bundle.preprocessing.preprocessor import Array


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The likeliest label; of equals the first in the order of the labels."""

    label: str
    index: int
    probabilities: dict[str, float]
    """One for each label, in the order of the labels; they sum to 1."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "index": self.index,
            "probabilities": dict(self.probabilities),
        }


def softmax(logits: Array) -> Array:
    """Along the last axis, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def to_predictions(manifest: Manifest, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
    """One JSON object a sample, in order; `outputs` have the batch dimension in front.

    {"prediction": {label, index, probabilities}} for a model with labels, else
    {"outputs": {tensor: nested list}}. Raises EngineError for outputs that are not finite.
    """
    outputs = as_numbers(manifest.outputs, outputs)
    for name, array in outputs.items():
        if not all_finite(array):
            raise EngineError(f"the model's output {name!r} has NaN or infinite values", field=name)
    if manifest.labels:
        logits = outputs[manifest.outputs[0].name]  # (B, labels)
        return [{"prediction": found.to_dict()} for found in classify(manifest.labels, logits)]
    count = len(next(iter(outputs.values())))
    columns = {name: array.tolist() for name, array in outputs.items()}
    return [
        {"outputs": {name: column[index] for name, column in columns.items()}}
        for index in range(count)
    ]


def classify(labels: tuple[str, ...], logits: Array) -> list[Prediction]:
    """One prediction a row of (B, labels)."""
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise EngineError(
            f"the model's logits have shape {list(logits.shape)}, expected (batch, {len(labels)})"
        )
    indices = logits.argmax(axis=1).tolist()  # (B,), the first of equals
    return [
        Prediction(
            label=labels[index], index=index, probabilities=dict(zip(labels, row, strict=True))
        )
        for index, row in zip(indices, softmax(logits).tolist(), strict=True)
    ]
