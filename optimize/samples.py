"""Samples that passes may look at, none of which the gate judges by: compared by content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from optimize.held_out import read_raw, read_row
from optimize.passes.base import CALIBRATION_SPLIT, TUNING_SPLIT, Calibration, Tuning
from optimize.passes.samples import none_left
from trainer.data.content import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bundle.preprocessing.preprocessor import DataPreprocessor, Row
    from optimize.held_out import HeldOut
    from optimize.reference import Tensors
    from optimize.schema import SamplesConfig
    from trainer.data.module import DataModule
    from trainer.data.samples import RawSample


def draw_samples(
    data: DataModule,
    held_out: HeldOut,
    preprocessor: DataPreprocessor,
    settings: SamplesConfig,
    *,
    batch_size: int,
) -> tuple[Calibration, Tuning]:
    """Calibration from the train split, tuning from the val split (train, where there is none).

    No content is in two of calibration, tuning and gate. Where nothing is left, a set is empty and
    reading it raises OptimizeError: most passes read none. Raises OptimizeError if a sample cannot
    be read.
    """
    taken = set(held_out.digests)
    if held_out.split == TUNING_SPLIT or not len(data.samples(TUNING_SPLIT)):
        tuning_split = CALIBRATION_SPLIT
        wanted = settings.calibration + settings.tuning
        both = _draw(data, CALIBRATION_SPLIT, wanted, taken)
        # Of too few, each gets its part.
        cut = -(-len(both) * settings.calibration // wanted)
        calibration, tuning = both[:cut], both[cut:]
    else:
        tuning_split = TUNING_SPLIT
        calibration = _draw(data, CALIBRATION_SPLIT, settings.calibration, taken)
        tuning = _draw(data, tuning_split, settings.tuning, taken)
    form = {"preprocessing": preprocessor.config.sha256, "batch_size": batch_size}
    return (
        Calibration(
            split=CALIBRATION_SPLIT,
            fingerprint=_fingerprint(calibration),
            samples=len(calibration),
            batches=_batches(calibration, CALIBRATION_SPLIT, preprocessor, batch_size=batch_size),
            form=form,
        ),
        Tuning(
            split=tuning_split,
            fingerprint=_fingerprint(tuning),
            samples=len(tuning),
            batches=_batches(tuning, tuning_split, preprocessor, batch_size=batch_size),
            form=form,
        ),
    )


def _draw(data: DataModule, split: str, count: int, taken: set[bytes]) -> list[RawSample]:
    """Up to `count` samples spread over the split, of contents not `taken`, and taken then."""
    samples = data.samples(split).raw
    # A fixed permutation: neighbours in a file are often alike.
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    drawn: list[RawSample] = []
    for index in order:
        if len(drawn) == count:
            break
        sample = read_raw(samples, index)
        content = digest(sample)
        if content not in taken:
            taken.add(content)
            drawn.append(sample)
    return drawn


def _fingerprint(samples: Iterable[RawSample]) -> str:
    return hashlib.sha256(b"".join(map(digest, samples))).hexdigest()


def _batches(
    samples: Sequence[RawSample], split: str, preprocessor: DataPreprocessor, *, batch_size: int
) -> Callable[[], Iterator[Tensors]]:
    """All batches are padded to the same length."""

    def read() -> Iterator[Tensors]:
        if not samples:
            raise none_left(split)
        rows: list[Row] = [read_row(samples, index, preprocessor) for index in range(len(samples))]
        together = preprocessor.collate(rows)
        for start in range(0, len(rows), batch_size):
            yield {name: array[start : start + batch_size] for name, array in together.items()}

    return read
