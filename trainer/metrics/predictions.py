"""Predictions: what a model answered to each sample of the test split, small enough to keep.

The probabilities themselves would be as large as the number of classes; calibration, Brier score
and all that a confusion matrix tells need three numbers a sample and the answer.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.atomic_file import staged
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE = "predictions.npz"
_COLUMNS = {
    "index": np.int64,
    "label": np.int32,
    "predicted": np.int32,
    "confidence": np.float32,
    "squared_error": np.float32,
}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One entry a sample, (n,) each, in the order of the test split."""

    index: np.ndarray[Any, Any]
    """The sample's position in the data set, int64."""
    label: np.ndarray[Any, Any]
    """The true class, int32."""
    predicted: np.ndarray[Any, Any]
    """The answer: the class with the largest probability, int32."""
    confidence: np.ndarray[Any, Any]
    """The probability of the answer, float32."""
    squared_error: np.ndarray[Any, Any]
    """Σ (probability - truth)² over the classes, float32."""
    labels: tuple[str, ...]
    """The names of the classes."""

    def __len__(self) -> int:
        return len(self.label)

    def confusion(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Counts (true class, predicted class)."""
        size = len(self.labels)
        pairs = self.label.astype(np.int64) * size + self.predicted
        return np.bincount(pairs, minlength=size * size).reshape(size, size)

    def write(self, path: Path) -> None:
        """A zip of plain arrays: `numpy.load(path)` reads it."""
        columns = {name: getattr(self, name).astype(kind) for name, kind in _COLUMNS.items()}
        with staged(path) as temporary:
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, labels=np.array(self.labels), **columns)
            temporary.replace(path)


_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise for bytes that are not what was written."""


def read_predictions(path: Path) -> Predictions:
    """Raises DataError if the file is missing, damaged or not one of these."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in _COLUMNS}
            labels = tuple(str(name) for name in arrays["labels"])
    except _DAMAGED as error:
        raise DataError(f"{path}: not a file of predictions ({error})") from error
    _check(path, columns, labels)
    return Predictions(**columns, labels=labels)


def _check(path: Path, columns: dict[str, Any], labels: Sequence[str]) -> None:
    if not all(isinstance(array, np.ndarray) for array in columns.values()):
        raise DataError(f"{path}: not a file of predictions (a column is no array)")
    shapes = {array.shape for array in columns.values()}
    if len(shapes) != 1 or len(shapes.pop()) != 1:
        raise DataError(f"{path}: its columns have different lengths")
    for name, kind in _COLUMNS.items():
        if columns[name].dtype != kind:
            raise DataError(f"{path}: {name} is {columns[name].dtype}, not {np.dtype(kind)}")
    for name in ("label", "predicted"):
        values = columns[name]
        if values.size and not (values.min() >= 0 and values.max() < len(labels)):
            raise DataError(f"{path}: {name} names a class that is not there")
