"""Small data to test with, on disk and in memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainer.data.augmentation import ImageAugmentation
from trainer.data.image_module import ImageDataModule
from trainer.data.samples import Corpus, RawSample
from trainer.data.sources.base import Source, number_classes
from trainer.data.text_module import TextDataModule

if TYPE_CHECKING:
    from pathlib import Path


class MemorySource(Source):
    """What the test hands it."""

    where = "data=memory"

    def __init__(self, raw: list[RawSample], labels: list[str], *, on_error: str = "fail") -> None:
        self.on_error = on_error
        numbers, classes = number_classes(labels)
        self.corpus = Corpus(
            raw=raw,
            labels=numbers,
            classes=classes,
            names=[f"sample {index}" for index in range(len(raw))],
        )

    def load(self) -> Corpus:
        return self.corpus


def picture(number: int, *, size: tuple[int, int] = (6, 5), suffix: str = "png") -> bytes:
    """An encoded RGB image; equal numbers give equal images."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=suffix)
    return file.getvalue()


def write_images(folder: Path, *, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        (folder / f"{number}.png").write_bytes(picture(number))


def image_module(count: int = 40, **options) -> ImageDataModule:
    """8x8 grey images of four classes, not yet set up."""
    rng = np.random.default_rng(0)
    raw: list[RawSample] = list(rng.integers(0, 256, (count, 8, 8), dtype=np.uint8))
    options = {"batch_size": 8, "augmentation": ImageAugmentation(shift=1, rotate=10), **options}
    return ImageDataModule(
        MemorySource(raw, [str(index % 4) for index in range(count)]),
        height=8,
        width=8,
        channels=1,
        **options,
    )


def text_module(count: int = 40, **options) -> TextDataModule:
    """Short texts of two classes, not yet set up."""
    words = ["red", "green", "blue", "round", "square", "naïve", "日本"]
    raw: list[RawSample] = [
        f"number {index} is {words[index % 7]} and {words[index % 5]}" for index in range(count)
    ]
    labels = ["even" if index % 2 == 0 else "odd" for index in range(count)]
    return TextDataModule(MemorySource(raw, labels), **{"batch_size": 8, **options})
