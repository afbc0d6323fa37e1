"""Which ONNX files quantize as they run, by the smallest and the largest value of a whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.engine.content import content_of

if TYPE_CHECKING:
    from pathlib import Path

_OPERATORS = b"DynamicQuantize"
"""How the names of ONNX's and ONNX Runtime's operators begin that do."""


def scales_by_batch(model: Path | bytes) -> bool:
    """Whether a row's answer is rounded by what is beside it. Of a file, or of its content."""
    with content_of(model) as content:
        return content.find(_OPERATORS) >= 0
