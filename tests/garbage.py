"""Without the collector, whatever is in a circle stays."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """What is let go of in it was in no circle."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
