"""Prepared: what a data module knows once it has read its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.data.samples import Corpus, IntArray, Samples, Selection

if TYPE_CHECKING:
    from trainer.data.splitting import Splits


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A corpus and its splits."""

    corpus: Corpus
    splits: Splits
    skipped: tuple[str, ...]
    """`name: reason` of every sample that was left out because it cannot be used."""
    fingerprint: str
    """sha256 over the raw samples, their classes and the splits."""

    @property
    def class_counts(self) -> IntArray:
        """Training samples of each class, (num_classes,)."""
        labels = self.corpus.labels[self.splits.train]
        return np.bincount(labels, minlength=len(self.corpus.classes))

    def samples(self, split: str) -> Samples:
        """The raw samples of "train", "val" or "test"."""
        indices = self.splits.by_name()[split]
        return Samples(raw=Selection(self.corpus.raw, indices), labels=self.corpus.labels[indices])

    def describe(self) -> dict[str, Any]:
        """What to record of the data, JSON-ready."""
        return {
            "fingerprint": self.fingerprint,
            "classes": list(self.corpus.classes),
            "samples": {name: len(part) for name, part in self.splits.by_name().items()},
            "duplicates": self.splits.duplicates,
            "skipped": len(self.skipped),
        }
