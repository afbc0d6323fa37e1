"""A data set of the `datasets` library: saved to disk, local files, or a name on the hub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from trainer.data.rejects import Rejects
from trainer.data.samples import SPLIT_NAMES, Corpus, RawSample
from trainer.data.sources.base import Source, number_classes
from trainer.data.sources.table import require_columns
from trainer.data.sources.text_table import class_name
from trainer.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

_TEXT_TYPES = ("string", "large_string")
_IMAGE_TYPES = ("string", "binary", "large_binary")  # a path, or an encoded image


class HfSource(Source):
    """Images or texts of one column, classes of another; the splits as the data set has them."""

    def __init__(
        self,
        root: str,
        *,
        config_name: str | None = None,
        revision: str | None = None,
        kind: str = "image",
        input_column: str = "image",
        label_column: str = "label",
        on_error: str = "fail",
    ) -> None:
        self.where = f"data.root={root}"
        self.on_error = on_error
        self._root = root
        self._config_name = config_name
        self._revision = revision
        self._kind = str(kind)
        self._input = input_column
        self._label = label_column

    def load(self) -> Corpus:
        parts = self._parts()
        columns = {"input_column": self._input, "label_column": self._label}
        for _, part in parts:
            require_columns(part.column_names, columns=columns, where=self.where)
        from datasets import concatenate_datasets  # as in _parts

        try:
            whole = concatenate_datasets([part for _, part in parts])
        except ValueError as error:
            raise self._error(f"the splits do not fit together: {error}", field="root") from error
        self._check_input(whole)
        labels, kept, rejects = self._labels(whole)
        whole = whole.select(kept)
        given = np.concatenate(
            [np.full(len(part), split, dtype=np.int64) for split, part in parts]
        )[kept]
        numbers, classes = number_classes(labels)
        return Corpus(
            raw=list(whole[self._input]) if self._kind == "text" else HfImages(whole, self._input),
            labels=numbers,
            classes=classes,
            names=[f"sample {index}" for index in kept],
            given=given if given.any() else None,
            skipped=rejects.found,
        )

    def _parts(self) -> list[tuple[int, Dataset]]:
        """Position in SPLITS and samples of each split."""
        try:
            import datasets  # optional, and slow to import
        except ImportError as error:
            raise DataError(
                f"{self.where}: the package datasets is not installed",
                field="data",
                remedy="pip install datasets",
            ) from error
        path = Path(self._root).expanduser()
        if not path.exists() and self._root.startswith(("/", ".", "~")):
            raise self._error(
                "there is no such folder",
                field="root",
                remedy="give a folder written by save_to_disk, one of data files, or a hub name",
            )
        saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        try:
            if saved:
                loaded = datasets.load_from_disk(str(path))
            else:
                name = str(path) if path.exists() else self._root
                loaded = datasets.load_dataset(name, self._config_name, revision=self._revision)
        except Exception as error:
            raise self._error(
                f"cannot be loaded: {type(error).__name__}: {error}",
                field="root",
                remedy="give a folder written by save_to_disk, one of data files, or a hub name "
                "that this machine can reach",
            ) from error
        if isinstance(loaded, datasets.Dataset):
            return [(0, loaded)]
        known = [name for name in loaded if name.lower() in SPLIT_NAMES]
        if not any(SPLIT_NAMES[name.lower()] == 0 for name in known):
            raise self._error(
                f"there is no split named train, only {', '.join(loaded) or 'none'}", field="root"
            )
        if ignored := [name for name in loaded if name not in known]:
            log.warning("%s: the splits %s are not used", self.where, ", ".join(ignored))
        return [(SPLIT_NAMES[name.lower()], loaded[name]) for name in known]

    def _check_input(self, whole: Dataset) -> None:
        import datasets  # as in _parts

        feature = whole.features[self._input]
        dtype = getattr(feature, "dtype", None)
        if self._kind == "text":
            fine = dtype in _TEXT_TYPES
        else:
            fine = isinstance(feature, datasets.Image) or dtype in _IMAGE_TYPES
        if not fine:
            raise self._error(
                f"the column {self._input!r} holds {feature}, not {self._kind}s",
                field="input_column",
                remedy=f"data.kind says what a sample is (image or text); the columns are "
                f"{', '.join(whole.column_names)}",
            )

    def _labels(self, whole: Dataset) -> tuple[list[str], list[int], Rejects]:
        """Classes of the samples that have one, and a text if that is it, and their positions."""
        import datasets  # as in _parts

        feature = whole.features[self._label]
        names = feature.names if isinstance(feature, datasets.ClassLabel) else None
        rejects = Rejects(where=self.where, on_error=self.on_error)
        labels, kept = [], []
        texts = whole[self._input] if self._kind == "text" else None
        for index, value in enumerate(whole[self._label]):
            try:
                if texts is not None and not (texts[index] or "").strip():
                    raise ValueError("the text is empty or blank")
                labels.append(_name(value, names))
                kept.append(index)
            except ValueError as error:
                rejects.add(f"sample {index}", error)
        rejects.report(total=len(whole))
        return labels, kept, rejects

    def _error(self, message: str, *, field: str, remedy: str | None = None) -> DataError:
        return DataError(f"{self.where}: {message}", field=f"data.{field}", remedy=remedy)


class HfImages(Sequence[RawSample]):
    """The encoded images of one column, read when asked for."""

    def __init__(self, dataset: Dataset, column: str) -> None:
        import datasets  # optional, and slow to import

        self._column = column
        self._dataset = dataset.select_columns([column]).cast_column(
            column, datasets.Image(decode=False)
        )

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[RawSample]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[RawSample]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        value: dict[str, Any] | None = self._dataset[index][self._column]
        if value is None:
            raise OSError("there is no image")
        content: bytes | None = value["bytes"]
        return content if content is not None else Path(value["path"]).read_bytes()


def _name(value: Any, names: Sequence[str] | None) -> str:
    """Raises ValueError for a missing label; -1 is how the library writes one."""
    if names is None or value is None:
        return class_name(value)
    if not 0 <= value < len(names):
        raise ValueError("the label is missing")
    return str(names[value])
