"""Whether numbers are finite: asked of every array that comes in or goes out, mostly small ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ADDED = 16
"""Numbers, at most, that Python adds up sooner than numpy looks at them."""
Array = np.ndarray[Any, np.dtype[Any]]


def all_finite(array: Array) -> bool:
    """Whether there is neither NaN nor an infinity; there is none in integers."""
    if array.dtype.kind != "f":
        return True
    if array.size <= ADDED and math.isfinite(sum(array.ravel().tolist())):
        return True  # a sum that is not may only be too large
    # Half the time of .all(), which is Python's down to its last step.
    return bool(np.count_nonzero(np.isfinite(array)) == array.size)
