"""What a pass checks before it learns anything from samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimize.errors import OptimizeError
from optimize.passes.base import LEARNED_FROM

if TYPE_CHECKING:
    from optimize.passes.base import Calibration, Tuning


def check_provenance(samples: Calibration | Tuning) -> None:
    """Raises OptimizeError for samples that are not known to be real ones of the model's data.

    Ranges learned from random noise can pass a test of accuracy while every logit is off.
    """
    kind = type(samples).__name__.lower()
    if samples.split not in LEARNED_FROM:
        raise OptimizeError(
            f"{kind}: the samples come from {samples.split!r}, and not from the "
            f"{' or '.join(LEARNED_FROM)} split of the model's own data",
            field=kind,
            remedy="learn from real samples",
        )
    if not samples.fingerprint:
        raise OptimizeError(
            f"{kind}: samples without a fingerprint cannot be told from others", field=kind
        )
    if samples.samples < 1:
        raise none_left(samples.split)


def none_left(split: str) -> OptimizeError:
    """For a split that has no sample to learn from."""
    return OptimizeError(
        f"the {split} split has no sample that is not needed elsewhere",
        field="data",
        remedy="give the data more samples, or try only recipes that need none",
    )
