"""Source: where a corpus comes from."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.data.samples import Corpus, IntArray

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


class Source(ABC):
    """Finds raw samples and their classes. Nothing is read before `load`."""

    where: str
    """The config that led here ("data.root=photos"); every message begins with it."""
    on_error: str = "fail"
    """What an unusable sample does: "fail" or "skip"."""

    @abstractmethod
    def load(self) -> Corpus:
        """Everything there is, in an order that depends on the data alone. Raises DataError."""


def number_classes(values: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Labels (n,) and the classes they count: sorted, as numbers if all of them are."""
    names = set(values)
    if all(_NUMBER.fullmatch(name) for name in names):
        classes = tuple(sorted(names, key=lambda name: (Decimal(name), name)))
    else:
        classes = tuple(sorted(names))
    position = {name: index for index, name in enumerate(classes)}
    return np.array([position[value] for value in values], dtype=np.int64), classes
