"""Orders: what the supervisor was told to serve last."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from serving.routing.messages import Polled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from serving.routing.wanted import Wanted

log = logging.getLogger(__name__)


class Orders:
    """Of every --model. From any thread: one asks the registry, which may take long, while another
    takes the traffic from what is bad.
    """

    def __init__(self, known: tuple[Wanted, ...], *, tell: Callable[[Polled], object]) -> None:
        """`known`: what the supervisor was told before."""
        self._last = {wanted.uri: wanted for wanted in known}
        self._tell = tell
        self._lock = threading.Lock()

    def last(self, uri: str) -> Wanted:
        """What holds now."""
        return self._last[uri]

    @property
    def uris(self) -> list[str]:
        """Every --model that is followed."""
        return list(self._last)

    @property
    def owing(self) -> bool:
        """Whether the registry was not yet told of something that was withdrawn."""
        return any(wanted.withdrawn for wanted in list(self._last.values()))

    def follow(self, wanted: Wanted, *, told: Collection[str]) -> None:
        """The registry wants this, and was told of these withdrawn versions.

        What was withdrawn while it was asked stays so. Nothing is said if nothing has changed, nor
        of a route that lacks a version: until that is here another route may take its place.
        """
        with self._lock:
            last = self._last[wanted.uri]
            wanted = wanted.withdrawing(last.withdrawn)
            wanted = replace(wanted, withdrawn=wanted.withdrawn.difference(told))
            if wanted != last and not wanted.awaited:
                self._give(wanted)

    def withdraw(self, uri: str, version: str, *, served: Wanted) -> Wanted:
        """Without this version. Where the registry wants a route that cannot be taken, what answers
        is what is `served`.
        """
        with self._lock:
            last = self._last[uri]
            wanted = (last if version in last.needed else served).withdrawing({version})
            self._give(wanted)
        return wanted

    def _give(self, wanted: Wanted) -> None:
        known = {refusal.version for refusal in self._last[wanted.uri].refused}
        for refusal in wanted.refused:
            if refusal.version not in known:
                log.error("a version is refused", extra={"fields": refusal.log_fields()})
        self._last[wanted.uri] = wanted
        self._tell(Polled(wanted))
