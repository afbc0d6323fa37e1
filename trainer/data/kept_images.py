"""Decoded images on the disk, for the next run on the same data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL

from bundle.archive import sha256_file
from bundle.atomic_file import staged, write_json
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class KeptImages:
    """One array of all images of a corpus, in a file that is named for what it was made from.

    Other files or another size are another name; nothing is ever out of date. Beside the array
    lies its sha256, and why images are missing from it.
    """

    def __init__(
        self, folder: Path, *, digests: Sequence[bytes], recipe: Mapping[str, Any]
    ) -> None:
        """`digests`: of every raw sample, in order. `recipe`: the preprocessing."""
        made_from = json.dumps([recipe, PIL.__version__], sort_keys=True).encode()
        name = hashlib.sha256(made_from + b"\0" + b"".join(digests)).hexdigest()[:32]
        self._array = folder / f"{name}.npy"
        self._note = folder / f"{name}.json"

    def load(self) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
        """uint8 (N, C, H, W), mapped into memory, and the reasons by position of those that are
        zeros because they cannot be used. None if there is no such file, or it is damaged.
        """
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if sha256_file(self._array) != note["sha256"]:
                log.warning("%s: damaged, made anew", self._array)
                return None
            # Copy on write: torch wants memory that could be written to.
            images: NDArray[np.uint8] = np.load(self._array, mmap_mode="c")
            reasons = {int(index): str(reason) for index, reason in note["rejected"].items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: unreadable (%s), made anew", self._array, error)
            return None
        log.info("decoded images are taken from %s", self._array)
        return images, reasons

    @contextmanager
    def making(
        self, shape: tuple[int, ...], rejected: Mapping[int, str]
    ) -> Iterator[NDArray[np.uint8]]:
        """An array to be filled, and kept with what `rejected` then holds; the disk holds it."""
        try:
            self._array.parent.mkdir(parents=True, exist_ok=True)
            with staged(self._array) as temporary:
                images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                with temporary.open("r+b") as file:  # a full disk is told now, and by an error
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
                yield images
                images.flush()
                digest = sha256_file(temporary)
                temporary.replace(self._array)
            reasons = {str(index): reason for index, reason in rejected.items()}
            write_json(self._note, {"sha256": digest, "rejected": reasons})
        except OSError as error:
            raise DataError(
                f"data.cache_dir={self._array.parent}: cannot be written"
                f" ({error.strerror or error})",
                field="data.cache_dir",
                remedy="make room, name another folder, or use data.cache_dir=null",
            ) from error
