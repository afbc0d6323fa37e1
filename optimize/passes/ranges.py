"""Ranges: from what was seen of an activation to what its integers stand for."""

from __future__ import annotations

from enum import StrEnum


class Ranges(StrEnum):
    """How the range of an activation follows from what the calibration samples show of it.

    `minmax` holds every value, `percentile` all but the outermost, and `entropy` is cut where the
    integers' distribution is nearest to that of the values.
    """

    minmax = "minmax"
    percentile = "percentile"
    entropy = "entropy"
