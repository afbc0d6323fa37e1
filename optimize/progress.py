"""What an export tells while it runs: a live line on a terminal, a plain line a stage elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StageProgress:
    """Everything goes to stderr: stdout is for results."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def stage(self, name: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Shown while the block runs; it is handed a function to tell of work done, of `total`."""
        if not self._console.is_terminal:
            self._console.print(name, markup=False)
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24))
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as bar:
            task = bar.add_task(name, total=total)
            yield lambda done: bar.advance(task, done)
            bar.update(task, total=1, completed=1)

    def notice(self, text: str) -> None:
        """Something the user should know, and need not act on."""
        self._console.print(f"notice: {text}", markup=False)
