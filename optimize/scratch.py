"""Scratch: a folder for one run; what killed runs left behind is swept by the next."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.held import held_folder, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

_PURPOSES = ("export", "compare", "bench")


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """`trainyard-<purpose>-…` in the folder for temporary files, where it may grow to gigabytes."""
    folder = Path(tempfile.gettempdir())
    for each in _PURPOSES:
        sweep(folder.glob(_prefix(each) + "*"))
    with held_folder(lambda: Path(tempfile.mkdtemp(prefix=_prefix(purpose)))) as held:
        yield held


def _prefix(purpose: str) -> str:
    return f"trainyard-{purpose}-"
