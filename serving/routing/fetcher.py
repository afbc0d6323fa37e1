"""Fetcher: brings versions onto this machine, each on its own thread: nobody waits for them."""

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


class Fetcher:
    """A version that is large, or on its way for long, holds up no other."""

    def __init__(
        self, fetch: Callable[[str, int], Resolved], post: Callable[[Fetched], object]
    ) -> None:
        """`fetch` takes a model's name and a version's number. It and `post`, which is told what
        came of it, are called on the threads.
        """
        self._fetch = fetch
        self._post = post
        self._under_way: set[tuple[str, int]] = set()

    def begin(self, name: str, number: int) -> None:
        """Fetch the version, unless it is on its way already."""
        if (name, number) in self._under_way:
            return
        self._under_way.add((name, number))
        log.info("a version is fetched", extra={"fields": {"model": name, "version": number}})
        threading.Thread(
            target=self._run, args=(name, number), name=f"fetch-{name}-{number}", daemon=True
        ).start()

    def _run(self, name: str, number: int) -> None:
        try:
            fetched = Fetched(name, number, self._fetch(name, number))
        except TrainyardError as error:
            fetched = Fetched(name, number, error)
        except Exception as error:  # whoever waits for the version has to hear of it
            log.exception("a version cannot be fetched")
            fetched = Fetched(name, number, TrainyardError(f"{type(error).__name__}: {error}"))
        self._under_way.discard((name, number))
        self._post(fetched)
