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
        self._overall: Progress | None = None

    @contextlib.contextmanager
    def stage(self, name: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Shown while the block runs; it is handed a function to tell of work done, of `total`."""
        if not self._console.is_terminal:
            self._console.print(name, markup=False)
            yield lambda _: None
            return
        with contextlib.ExitStack() as stack:
            bar = self._overall or stack.enter_context(self._bar())
            task = bar.add_task(name, total=total)
            yield lambda done: bar.advance(task, done)
            bar.update(task, total=1, completed=1)
            if bar is self._overall:  # one line a variant; its finished stages make room
                bar.remove_task(task)

    @contextlib.contextmanager
    def variants(self, total: int) -> Iterator[Callable[[str], None]]:
        """A bar over the variants while the block runs, below it the stages; the block is handed a
        function to tell that the work on the variant of that name begins.
        """
        begun = 0
        if not self._console.is_terminal:

            def announce(name: str) -> None:
                nonlocal begun
                begun += 1
                self._console.print(f"variant {begun} of {total}: {name}", markup=False)

            yield announce
            return
        with self._bar() as bar:
            task = bar.add_task("variants", total=total)

            def begin(name: str) -> None:
                nonlocal begun
                begun += 1
                text = f"variant {begun} of {total}: {name}"
                bar.update(task, description=text, completed=begun - 1)

            self._overall = bar
            try:
                yield begin
                bar.update(task, description=f"{total} variants", completed=total)
            finally:
                self._overall = None

    def notice(self, text: str) -> None:
        """Something the user should know, and need not act on."""
        self._console.print(f"notice: {text}", markup=False)

    def _bar(self) -> Progress:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24))
        return Progress(*columns, TimeElapsedColumn(), console=self._console)
