"""The content of a model, in memory or in a file, to be looked at without reading all of it."""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = mmap.mmap | bytes


@contextmanager
def content_of(model: Path | str | bytes) -> Iterator[Buffer]:
    """Of a file, or what is its content already."""
    if isinstance(model, bytes):
        yield model
        return
    with (
        Path(model).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        yield content
