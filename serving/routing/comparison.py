"""Comparison: how far two versions' answers to the same samples are apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bundle.bfloat16 import as_numbers
from bundle.errors import EngineError
from bundle.finite import all_finite
from bundle.prediction import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.manifest import Manifest
    from serving.awaited import Answer
    from serving.served_model import Part
    from serving.wire import Array, Tensors

Floats = npt.NDArray[np.float64]

PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Comparison:
    """Of the samples of one request."""

    agreeing: int | None = None
    """How many have the same likeliest label; None for models without labels."""
    disagreeing: int | None = None
    divergences: dict[str, list[float]] = field(default_factory=dict)
    """One a sample: for models with labels half the sum of the differences between their
    probabilities (0 to 1), else the largest difference within each tensor that both have."""


def in_order(parts: Sequence[Part], answers: Sequence[Answer]) -> Tensors:
    """The outputs of all parts, the samples in the order of the request."""
    order = np.argsort([index for part in parts for index in part.indices])
    names = answers[0].outputs
    return {
        name: np.concatenate([answer.outputs[name] for answer in answers])[order] for name in names
    }


def compare(manifest: Manifest, ours: Tensors, other: Manifest, theirs: Tensors) -> Comparison:
    """Batch dimension in front. Raises EngineError where `theirs` are not finite."""
    ours, theirs = as_numbers(manifest.outputs, ours), as_numbers(other.outputs, theirs)
    for name, array in theirs.items():
        if not all_finite(array):
            raise EngineError(f"the shadow's {name!r} has NaN or infinite values", field=name)
    if manifest.labels and other.labels:
        return _compare_labels(
            manifest.labels, ours[manifest.outputs[0].name],
            other.labels, theirs[other.outputs[0].name],
        )  # fmt: skip
    return Comparison(
        divergences={
            name: _largest_difference(array, theirs[name])
            for name, array in ours.items()
            if name in theirs and theirs[name].shape == array.shape
        }
    )


def _compare_labels(
    labels: Sequence[str], logits: Array, other_labels: Sequence[str], other_logits: Array
) -> Comparison:
    """Labels are the same if they have the same name."""
    every = list(dict.fromkeys([*labels, *other_labels]))
    ours = _spread(labels, softmax(logits), every)  # (B, labels of either)
    theirs = _spread(other_labels, softmax(other_logits), every)
    same = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    distances: list[float] = (np.abs(ours - theirs).sum(axis=1) / 2).tolist()
    return Comparison(same, len(ours) - same, {PROBABILITIES: distances})


def _spread(labels: Sequence[str], probabilities: Floats, every: list[str]) -> Floats:
    """The probability of a label that the model does not know is 0."""
    if list(labels) == every:
        return probabilities
    found = np.zeros((len(probabilities), len(every)))
    found[:, [every.index(label) for label in labels]] = probabilities
    return found


def _largest_difference(one: Array, other: Array) -> list[float]:
    """Of each sample; 1 for strings that are not the same."""
    if one.dtype == object:
        apart = (one != other).astype(np.float64)
    else:
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    rows = apart.reshape(len(apart), -1)
    largest: list[float] = rows.max(axis=1, initial=0.0).tolist()
    return largest
