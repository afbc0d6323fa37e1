"""Batches that look for what one example cannot show: shapes, lengths, padding, extreme values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bundle.tensor import DYNAMIC

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor, Row
    from optimize.reference import Array, Tensors

BATCH_SIZES = (1, 3, 8)
_EXAMPLE_LENGTH = 16


def example_batch(
    rows: Sequence[Row], preprocessor: DataPreprocessor, *, max_length: int | None
) -> Tensors:
    """Two rows to trace a model with; of a sequence, the second one is shorter and so padded."""
    length = None if max_length is None else min(max_length, _EXAMPLE_LENGTH)
    return _batch(rows, preprocessor, size=2, length=length)


def timing_batch(
    rows: Sequence[Row], preprocessor: DataPreprocessor, *, size: int, length: int | None
) -> Tensors:
    """A batch as it is met in serving, or of `length` tokens."""
    if length is None:
        return preprocessor.collate([rows[index % len(rows)] for index in range(size)])
    return _batch(rows, preprocessor, size=size, length=length)


def probe_batches(
    rows: Sequence[Row],
    preprocessor: DataPreprocessor,
    *,
    max_length: int | None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seed: int = 0,
) -> Iterator[Tensors]:
    """Batches of every size in `batch_sizes`, made from real `rows`.

    With a sequence axis: one batch for each of several lengths from 1 to `max_length`, in which
    every second row is shorter and so padded. Without: the rows themselves, and for bytes also
    the darkest, the brightest and random values.
    """
    for size in batch_sizes:
        for length in [None] if max_length is None else _lengths(max_length):
            yield _batch(rows, preprocessor, size=size, length=length)
        for extreme in _extremes(rows[0], np.random.default_rng(seed)):
            others = [rows[index % len(rows)] for index in range(1, size)]
            yield preprocessor.collate([extreme, *others])


def _batch(
    rows: Sequence[Row], preprocessor: DataPreprocessor, *, size: int, length: int | None
) -> Tensors:
    picked = [rows[index % len(rows)] for index in range(size)]
    if length is not None:
        shorter = -(-length // 2)
        picked = [
            _resized(row, preprocessor, shorter if index % 2 else length)
            for index, row in enumerate(picked)
        ]
    return preprocessor.collate(picked)


def _lengths(max_length: int) -> list[int]:
    wanted = {1, 2, 7, max_length // 2, max_length}
    return sorted(length for length in wanted if 1 <= length <= max_length)


def _extremes(row: Row, generator: np.random.Generator) -> Iterator[Row]:
    """Rows of bytes only: other element types have no smallest and largest sensible value."""
    if any(array.dtype != np.uint8 for array in row.values()):
        return
    yield {name: np.zeros_like(array) for name, array in row.items()}
    yield {name: np.full_like(array, 255) for name, array in row.items()}
    yield {
        name: np.asarray(generator.integers(0, 256, size=array.shape, dtype=np.uint8))
        for name, array in row.items()
    }


def _resized(row: Row, preprocessor: DataPreprocessor, length: int) -> Row:
    """The row with every dynamic axis repeated or cut to `length`."""
    resized: dict[str, Array] = {}
    for spec in preprocessor.input_specs:
        array = row[spec.name]
        for axis, size in enumerate(spec.shape[1:]):
            if size == DYNAMIC:
                array = np.take(array, np.arange(length) % array.shape[axis], axis=axis)
        resized[spec.name] = array
    return resized
