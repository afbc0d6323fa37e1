"""Hold back what ONNX Runtime's tools say; whether they did their work is checked instead."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Log nothing below CRITICAL and print nothing while the block runs: the tools use the root
    logger, and some calibrators stdout.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
