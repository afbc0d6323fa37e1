"""Garbage: what an API process has loaded once and keeps is not looked at for it again and again.

Workers let models go, and with them what would be frozen: theirs is collected as ever.
"""

from __future__ import annotations

import gc

ALLOCATIONS = 5_000
"""Objects that must be new before the youngest are looked at; a request makes a few hundred, and
nearly all of them are gone with it, without the collector."""


def freeze_loaded() -> None:
    """A collection of all that is loaded would hold up requests for a tenth of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)
