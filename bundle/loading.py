"""Loading: modules are loaded without a search for garbage in what they make."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading() -> Iterator[None]:
    """For a process of our own, whose modules stay.

    Torch and Lightning make half a million objects, MLflow as many again. To search them while they
    are made takes a sixth of the time to load them, and each later search a third of a second in
    which nothing else is done: they are left out of it from here on (gc.freeze). Where all is
    loaded already nothing is left out: what an earlier job of a sweep left behind is garbage.
    """
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if len(sys.modules) > before:
            gc.freeze()
