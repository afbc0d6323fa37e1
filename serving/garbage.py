"""Garbage: what lives as long as the process is not looked at for it again and again."""

from __future__ import annotations

import gc

ALLOCATIONS = 5_000
"""Objects that must be new before the youngest are looked at; a request makes a few hundred, and
nearly all of them are gone with it, without the collector."""


def settle() -> None:
    """To be called when everything is loaded: collections would hold up requests for a tenth of a
    second each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)
