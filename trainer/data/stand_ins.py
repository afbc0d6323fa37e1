"""StandIns: which sample is trained on in the place of one that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.data.samples import IntArray


class StandIns:
    """The next samples of its class in the split, then all the others.

    A function of the split alone. Every share of a batch stays as large as it should be, and a
    batch holds the same samples whatever the number of processes, and when it is read again.
    """

    def __init__(self, indices: IntArray, labels: IntArray) -> None:
        """`indices` (n,) are the split's positions in the corpus, `labels` the whole corpus's."""
        self._indices = indices
        self._labels = labels

    def __call__(self, sample: int) -> Iterator[int]:
        """Positions in the corpus, the best first."""
        place = int(np.flatnonzero(self._indices == sample)[0])
        others = np.roll(self._indices, -place)[1:]
        kindred = self._labels[others] == self._labels[sample]
        yield from others[kindred].tolist()
        yield from others[~kindred].tolist()
