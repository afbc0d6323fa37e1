"""One function a data set of `conf/data`: which source goes with which data module.

They are what the schemas' `_target_` names. `options` are the other fields of the schema, and what
the run adds: `seed`, `assets_dir` and `tokenizer_file` of DataModule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.data.image_module import ImageDataModule
from trainer.data.schema import Kind
from trainer.data.sources.bbc_news import BbcNewsSource
from trainer.data.sources.digits import DigitsSource
from trainer.data.sources.hf import HfSource
from trainer.data.sources.image_folder import ImageFolderSource
from trainer.data.sources.mnist import MnistSource
from trainer.data.sources.reviews import ReviewsSource
from trainer.data.sources.text_table import TextTableSource
from trainer.data.text_module import TextDataModule

if TYPE_CHECKING:
    from trainer.data.augmentation import ImageAugmentation, TextAugmentation
    from trainer.data.module import DataModule


def bbc_news(**options: Any) -> TextDataModule:
    return TextDataModule(BbcNewsSource(), **options)


def digits(**options: Any) -> ImageDataModule:
    return ImageDataModule(DigitsSource(), **options)


def hf(
    *,
    root: str,
    config_name: str | None,
    revision: str | None,
    kind: str,
    input_column: str,
    label_column: str,
    on_error: str,
    height: int,
    width: int,
    channels: int,
    resize: str,
    interpolation: str,
    max_pixels: int,
    cache_bytes: int,
    cache_dir: str | None,
    augmentation: ImageAugmentation,
    max_length: int,
    pad_to_multiple_of: int,
    vocab_size: int,
    min_frequency: int,
    text_augmentation: TextAugmentation,
    **options: Any,
) -> DataModule:
    """The fields of the other kind are there, and are not looked at."""
    source = HfSource(
        root,
        config_name=config_name,
        revision=revision,
        kind=kind,
        input_column=input_column,
        label_column=label_column,
        on_error=on_error,
    )
    if kind == Kind.text:
        return TextDataModule(
            source,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            augmentation=text_augmentation,
            **options,
        )
    return ImageDataModule(
        source,
        height=height,
        width=width,
        channels=channels,
        resize=resize,
        interpolation=interpolation,
        max_pixels=max_pixels,
        cache_bytes=cache_bytes,
        cache_dir=cache_dir,
        augmentation=augmentation,
        **options,
    )


def image_folder(*, root: str, on_error: str, **options: Any) -> ImageDataModule:
    return ImageDataModule(ImageFolderSource(root, on_error=on_error), **options)


def mnist(**options: Any) -> ImageDataModule:
    return ImageDataModule(MnistSource(), **options)


def reviews(**options: Any) -> TextDataModule:
    return TextDataModule(ReviewsSource(), **options)


def text_table(
    *,
    root: str,
    text_column: str,
    label_column: str,
    split_column: str | None,
    on_error: str,
    **options: Any,
) -> TextDataModule:
    source = TextTableSource(
        root,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        on_error=on_error,
    )
    return TextDataModule(source, **options)
