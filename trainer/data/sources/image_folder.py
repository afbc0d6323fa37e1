"""A folder of images, one sub-folder a class."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from bundle.preprocessing.image import FORMATS
from trainer.data.samples import SPLIT_NAMES, Corpus, RawSample
from trainer.data.sources.base import Source, number_classes
from trainer.errors import DataError

log = logging.getLogger(__name__)


class ImageFolderSource(Source):
    """`root/CLASS/…/IMAGE`, or `root/SPLIT/CLASS/…/IMAGE` with a split named train.

    Hidden files are not looked at; files with a suffix that is no image's are counted and logged.
    """

    def __init__(self, root: str, *, on_error: str = "fail") -> None:
        self.where = f"data.root={root}"
        self.on_error = on_error
        self._root = Path(root).expanduser()

    def load(self) -> Corpus:
        folders = self._class_folders()
        paths: list[Path] = []
        names: list[str] = []
        given: list[int] = []
        others: list[str] = []
        suffixes = {
            suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS
        }
        for split, folder in folders:
            found = 0
            for path in _files(folder):
                relative = path.relative_to(self._root).as_posix()
                if path.suffix.lower() not in suffixes:
                    others.append(relative)
                    continue
                found += 1
                paths.append(path)
                names.append(folder.name)
                given.append(split)
            if not found:
                raise self._error(
                    f"the folder of class {folder.name!r} has no image in it",
                    remedy=f"put images there or remove {folder}",
                )
        if others:
            log.warning(
                "%s: %d files are no images by their suffix and were left out, the first: %s",
                self.where,
                len(others),
                others[0],
            )
        labels, classes = number_classes(names)
        has_splits = any(folder.parent != self._root for _, folder in folders)
        return Corpus(
            raw=FileContents(paths),
            labels=labels,
            classes=classes,
            names=[path.relative_to(self._root).as_posix() for path in paths],
            given=np.asarray(given, dtype=np.int64) if has_splits else None,
        )

    def _class_folders(self) -> list[tuple[int, Path]]:
        """Position in SPLITS and folder of every class, in a fixed order."""
        if not self._root.is_dir():
            kind = "is not a folder" if self._root.exists() else "there is no such folder"
            raise self._error(
                kind, remedy="give the folder that holds one sub-folder of images for each class"
            )
        top = _folders(self._root)
        if not top:
            raise self._error(
                "the folder has no sub-folders",
                remedy="make one sub-folder for each class and put its images there",
            )
        names = {folder.name.lower() for folder in top}
        if not (names <= SPLIT_NAMES.keys() and any(SPLIT_NAMES[name] == 0 for name in names)):
            return [(0, folder) for folder in top]
        inner = [
            (SPLIT_NAMES[split.name.lower()], folder) for split in top for folder in _folders(split)
        ]
        if not inner:
            raise self._error(
                f"the folders {', '.join(folder.name for folder in top)} have no sub-folders",
                remedy="make one sub-folder for each class in each of them",
            )
        return inner

    def _error(self, message: str, *, remedy: str) -> DataError:
        return DataError(f"{self.where}: {message}", field="data.root", remedy=remedy)


class FileContents(Sequence[RawSample]):
    """The bytes of files, read when asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> FileContents: ...
    def __getitem__(self, index: int | slice) -> bytes | FileContents:
        if isinstance(index, slice):
            return FileContents(self._paths[index])
        path = self._paths[index]
        if not path.is_file() and path.exists():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return path.read_bytes()


def _folders(path: Path) -> list[Path]:
    found = (child for child in path.iterdir() if child.is_dir() and child.name[0] != ".")
    return sorted(found, key=lambda folder: folder.name)


def _files(folder: Path) -> list[Path]:
    """All files below, hidden ones apart, sorted by path."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [Path(parent, name) for name in names if name[0] != "."]
    return sorted(found, key=lambda path: path.as_posix())
