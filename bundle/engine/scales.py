"""Which ONNX files quantize as they run, by the smallest and the largest value of a whole batch."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_OPERATORS = b"DynamicQuantize"
"""How the names of ONNX's and ONNX Runtime's operators begin that do."""


def scales_by_batch(model: Path | bytes) -> bool:
    """Whether a row's answer is rounded by what is beside it. Of a file, or of its content."""
    if isinstance(model, bytes):
        return _OPERATORS in model
    with (
        model.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(_OPERATORS) >= 0
