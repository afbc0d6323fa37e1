"""1,797 handwritten digits from the package scikit-learn (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import gzip

import numpy as np

from trainer.data.samples import Corpus
from trainer.data.sources.base import Source
from trainer.data.sources.packaged import packaged_path

_SIDE = 8


class DigitsSource(Source):
    """8x8 uint8: the 17 grey levels of `sklearn.datasets.load_digits`, spread over 0 to 255."""

    where = "data=digits"

    def load(self) -> Corpus:
        path = packaged_path(
            "sklearn",
            "datasets",
            "data",
            "digits.csv.gz",
            where=self.where,
            install="scikit-learn",
        )
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",")
        pixels = np.round(table[:, :-1] * 255 / 16).astype(np.uint8)
        return Corpus(
            raw=list(pixels.reshape(-1, _SIDE, _SIDE)),
            labels=table[:, -1].astype(np.int64),
            classes=tuple(str(digit) for digit in range(10)),
            names=[f"sample {index}" for index in range(len(table))],
        )
