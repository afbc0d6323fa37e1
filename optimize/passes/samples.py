"""What a pass checks before it learns anything from samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimize.errors import OptimizeError
from optimize.held_out import SPLITS

if TYPE_CHECKING:
    from optimize.passes.base import Calibration, Tuning


def check_provenance(samples: Calibration | Tuning) -> None:
    """Raises OptimizeError for samples that are not known to be real ones of the model's data.

    Ranges learned from random noise can pass a test of accuracy while every logit is off.
    """
    kind = type(samples).__name__.lower()
    if samples.split not in SPLITS:
        raise OptimizeError(
            f"{kind}: the samples come from {samples.split!r}, and not from one of the splits "
            f"{', '.join(SPLITS)} of the model's own data",
            field=kind,
            remedy="learn from real samples",
        )
    if not samples.fingerprint or samples.samples < 1:
        raise OptimizeError(
            f"{kind}: {samples.samples} samples with the fingerprint {samples.fingerprint!r} "
            "cannot be told from others",
            field=kind,
        )
