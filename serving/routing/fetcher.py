"""Fetcher: brings versions onto this machine, on threads: nobody waits for them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from bundle.errors import TrainyardError
from serving.routing.messages import Fetched

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundle.uri import Resolved

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Versions that are fetched at the same time."""


class Fetcher:
    """A version that is large, or on its way for long, holds up no other, unless there are several;
    of those that wait the one that was wanted last is the first.
    """

    def __init__(
        self, fetch: Callable[[str, int], Resolved], post: Callable[[Fetched], object]
    ) -> None:
        """`fetch` takes a model's name and a version's number. It and `post`, which is told what
        came of it, are called on the threads.
        """
        self._fetch = fetch
        self._post = post
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, int]] = set()
        self._waiting: list[tuple[str, int]] = []
        self._threads = 0

    def begin(self, name: str, number: int) -> None:
        """Fetch the version, unless it is on its way; if it waits, it is the next one."""
        with self._lock:
            version = (name, number)
            if version in self._waiting:
                self._waiting.remove(version)
            elif version in self._under_way:
                return
            self._under_way.add(version)
            self._waiting.append(version)
            if self._threads == AT_ONCE:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="fetch", daemon=True).start()

    def _work(self) -> None:
        while (version := self._next()) is not None:
            self._run(*version)

    def _next(self) -> tuple[str, int] | None:
        """None for a thread that is needed no more."""
        with self._lock:
            if self._waiting:
                return self._waiting.pop()
            self._threads -= 1
            return None

    def _run(self, name: str, number: int) -> None:
        log.info("a version is fetched", extra={"fields": {"model": name, "version": number}})
        try:
            fetched = Fetched(name, number, self._fetch(name, number))
        except TrainyardError as error:
            fetched = Fetched(name, number, error)
        except Exception as error:  # whoever waits for the version has to hear of it
            log.exception("a version cannot be fetched")
            fetched = Fetched(name, number, TrainyardError(f"{type(error).__name__}: {error}"))
        with self._lock:
            self._under_way.discard((name, number))
        self._post(fetched)
