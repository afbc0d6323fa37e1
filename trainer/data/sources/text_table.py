"""A table of texts and their classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.data.rejects import Rejects
from trainer.data.samples import SPLIT_NAMES, Corpus
from trainer.data.sources.base import Source, number_classes
from trainer.data.sources.table import SUFFIXES, Row, read_rows
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class TextTableSource(Source):
    """A CSV or TSV file with a header, JSON lines, or Parquet; UTF-8."""

    def __init__(
        self,
        root: str,
        *,
        text_column: str = "text",
        label_column: str = "label",
        split_column: str | None = None,
        on_error: str = "fail",
    ) -> None:
        self.where = f"data.root={root}"
        self.on_error = on_error
        self._path = Path(root).expanduser()
        self._columns = {"text_column": text_column, "label_column": label_column}
        if split_column is not None:
            self._columns["split_column"] = split_column

    def load(self) -> Corpus:
        if not self._path.is_file():
            kind = "this is a folder" if self._path.is_dir() else "there is no such file"
            raise DataError(
                f"{self.where}: {kind}",
                field="data.root",
                remedy=f"give a file that ends in {', '.join(SUFFIXES)}",
            )
        if self._path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{self.where}: a table cannot be told by the suffix {self._path.suffix!r}",
                field="data.root",
                remedy=f"give a file that ends in {', '.join(SUFFIXES)}",
            )
        rows = read_rows(self._path, columns=self._columns, where=self.where)
        return self._corpus(rows)

    def _corpus(self, rows: Iterable[Row]) -> Corpus:
        rejects = Rejects(where=self.where, on_error=self.on_error)
        texts: list[str] = []
        labels: list[str] = []
        given: list[int] = []
        names: list[str] = []
        total = 0
        for name, values in rows:
            total += 1
            try:
                text, label, split = self._take(values)
            except ValueError as error:
                rejects.add(name, error)
                continue
            texts.append(text)
            labels.append(label)
            given.append(split)
            names.append(name)
        rejects.report(total=total)
        numbers, classes = number_classes(labels)
        return Corpus(
            raw=texts,
            labels=numbers,
            classes=classes,
            names=names,
            given=np.asarray(given, dtype=np.int64) if "split_column" in self._columns else None,
            skipped=rejects.found,
        )

    def _take(self, values: Mapping[str, Any] | str) -> tuple[str, str, int]:
        """Text, class and position in SPLITS of one row. Raises ValueError with the reason."""
        if isinstance(values, str):
            raise ValueError(values)  # noqa: TRY004 - the reason, not a wrong type
        text = values.get(self._columns["text_column"])
        if text is None or not str(text).strip():
            raise ValueError("the text is empty or blank")
        if not isinstance(text, str):
            raise ValueError(f"the text is {type(text).__name__}, not a string")  # noqa: TRY004
        label = class_name(values.get(self._columns["label_column"]))
        if "split_column" not in self._columns:
            return text, label, 0
        split = str(values.get(self._columns["split_column"])).strip().lower()
        if split not in SPLIT_NAMES:
            raise ValueError(f"the split is {split!r}, not train, val or test")
        return text, label, SPLIT_NAMES[split]


def class_name(value: Any) -> str:
    """The class that a cell names: 1, 1.0 and "1" are the same. Raises ValueError for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | str) and str(value).strip():
        return str(value).strip()
    if value is None or value == "" or value != value:  # noqa: PLR0124 - only NaN is not itself
        raise ValueError("the label is missing")
    raise ValueError(f"the label {value!r} names no class")
