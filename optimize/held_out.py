"""Samples that training did not learn from, on which an exported model is judged."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bundle.errors import InputError
from optimize.errors import OptimizeError
from trainer.data.content import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor, Row
    from optimize.reference import Array
    from trainer.data.module import DataModule
    from trainer.data.samples import RawSample
    from trainer.restore import Restored

SPLITS = ("test", "val", "train")
"""In the order of preference; what was taken is recorded."""
_LARGEST_GOLDEN = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Raw samples, their classes, and the split that they are."""

    split: str
    raw: Sequence[RawSample]
    labels: Array
    """int64 (samples,)"""
    fingerprint: str
    """Of the data as they are here; the checkpoint's differs if they have changed."""

    @functools.cached_property
    def digests(self) -> tuple[bytes, ...]:
        """Of each sample's content. Raises OptimizeError if one cannot be read."""
        return tuple(digest(read_raw(self.raw, index)) for index in range(len(self.raw)))

    @property
    def sha256(self) -> str:
        """Of the samples' contents and classes, in order."""
        labels = np.ascontiguousarray(self.labels, dtype="<i8").tobytes()
        return hashlib.sha256(b"".join(self.digests) + labels).hexdigest()

    def rows(self, preprocessor: DataPreprocessor, count: int) -> list[Row]:
        """The tensors of the first `count` samples."""
        indices = range(min(count, len(self.raw)))
        return [read_row(self.raw, index, preprocessor) for index in indices]

    def golden(self, count: int) -> list[bytes | str]:
        """The first `count` samples that are not large, as a client would send them."""
        samples = map(_as_sent, self.raw)
        small = (sample for sample in samples if len(sample) <= _LARGEST_GOLDEN)
        return list(itertools.islice(small, count)) or [_as_sent(self.raw[0])]


def read_raw(samples: Sequence[RawSample], index: int) -> RawSample:
    """One sample. Raises OptimizeError, naming it, if it cannot be read."""
    try:
        return samples[index]
    except OSError as error:
        raise _unusable(index, error) from error


def read_row(samples: Sequence[RawSample], index: int, preprocessor: DataPreprocessor) -> Row:
    """The tensors of one sample. Raises OptimizeError, naming it, if it cannot be used."""
    sample = read_raw(samples, index)
    try:
        return preprocessor(sample)
    except (InputError, OSError) as error:
        raise _unusable(index, error) from error


def _unusable(index: int, error: Exception) -> OptimizeError:
    return OptimizeError(
        f"held-out sample {index} cannot be used: {error}",
        field="data",
        remedy="repair it, or compare on fewer with optimize.max_samples",
    )


def load_held_out(restored: Restored, data: DataModule, *, max_samples: int | None) -> HeldOut:
    """The test split of the checkpoint's data, or what there is instead.

    Raises OptimizeError if the data have other classes than the model, and what the data raise.
    """
    if tuple(data.labels) != restored.labels:
        raise OptimizeError(
            f"the data now have the classes {', '.join(data.labels)}, but the model was trained on "
            f"{', '.join(restored.labels)}",
            field="data",
            remedy="restore the data that the model was trained on",
        )
    split = _split(data)
    samples = data.samples(split)
    count = len(samples) if max_samples is None else min(max_samples, len(samples))
    return HeldOut(
        split=split,
        raw=samples.raw[:count],
        labels=samples.labels[:count],
        fingerprint=data.fingerprint,
    )


def _split(data: DataModule) -> str:
    for split in SPLITS:
        if len(data.samples(split)):
            return split
    raise OptimizeError("the data hold no sample to compare the models on", field="data")


def _as_sent(raw: RawSample) -> bytes | str:
    """Pixels as a PNG file, which loses nothing; files and texts as they are."""
    if not isinstance(raw, np.ndarray):
        return raw
    stream = io.BytesIO()
    pixels = raw[:, :, 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()
