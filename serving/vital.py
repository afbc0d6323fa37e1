"""What a process is of no use without."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def vital(thread: str) -> Iterator[None]:
    """If it fails the process ends, and is replaced: it would be deaf, mute or stuck without it."""
    try:
        yield
    except Exception:
        log.exception("a process cannot go on", extra={"fields": {"thread": thread}})
        os._exit(1)


def vital_thread(name: str, run: Callable[[], object]) -> threading.Thread:
    """A thread that is vital."""

    def guarded() -> None:
        with vital(name):
            run()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
