"""Threads without which a process is of no use."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


def vital_thread(name: str, run: Callable[[], object]) -> threading.Thread:
    """If it fails the process ends, and is replaced: it would be deaf, mute or stuck without it."""

    def guarded() -> None:
        try:
            run()
        except BaseException:
            log.exception("a process cannot go on", extra={"fields": {"thread": name}})
            os._exit(1)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
