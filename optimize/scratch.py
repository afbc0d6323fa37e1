"""Scratch: a folder for one run; what killed runs left behind is swept by the next."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.held import held_folder, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD = ("export", "compare")
_UNHELD = "bench"
"""Lives as long as a benchmark, and is not locked."""
_ABANDONED_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """`trainyard-<purpose>-…` in the folder for temporary files, where it may grow to gigabytes."""
    folder = Path(tempfile.gettempdir())
    for each in _HELD:
        sweep(folder.glob(_prefix(each) + "*"))
    sweep(folder.glob(_prefix(_UNHELD) + "*"), seconds=_ABANDONED_SECONDS)
    with held_folder(lambda: Path(tempfile.mkdtemp(prefix=_prefix(purpose)))) as held:
        yield held


def _prefix(purpose: str) -> str:
    return f"trainyard-{purpose}-"
