"""Raw samples, as a source hands them over and as a split shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
RawSample = bytes | NDArray[np.uint8] | str
"""An encoded image, uint8 pixels (H, W) or (H, W, C), or a text."""

LABEL = "label"
"""The key of the classes in a batch; every other key is an input of the model."""
UNREADABLE = -1
"""Stands for the position, and in a batch for the label, of a sample that cannot be read."""
NO_SAMPLE = -2
"""The label of what is in a batch only because no batch may be empty."""

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "dev": 1,
    "test": 2,
    "testing": 2,
}
"""What data call their splits; the number is the position in SPLITS."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Everything that a source found, in a fixed order."""

    raw: Sequence[RawSample]
    """Reading an element may raise OSError."""
    labels: IntArray
    """Positions in `classes`, (n,)."""
    classes: tuple[str, ...]
    names: Sequence[str]
    """Where each sample came from, for messages."""
    given: IntArray | None = None
    """Positions in SPLITS, (n,), where the data themselves say which sample is for what."""
    skipped: tuple[str, ...] = ()
    """Names and reasons of the samples that the source left out."""

    def __len__(self) -> int:
        return len(self.labels)


class Selection(Sequence[RawSample]):
    """Some elements of a sequence, read when asked for."""

    def __init__(self, raw: Sequence[RawSample], indices: IntArray) -> None:
        self._raw = raw
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> RawSample: ...
    @overload
    def __getitem__(self, index: slice) -> Selection: ...
    def __getitem__(self, index: int | slice) -> RawSample | Selection:
        if isinstance(index, slice):
            return Selection(self._raw, self._indices[index])
        return self._raw[int(self._indices[index])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """The raw samples of one split and their labels."""

    raw: Selection
    labels: IntArray
    """Positions in the data module's `labels`, (n,)."""

    def __len__(self) -> int:
        return len(self.labels)
