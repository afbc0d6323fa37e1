"""Orders: what the supervisor is to serve."""

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
        """`known`: what the supervisor was told before. `tell` must not wait."""
        self._last = {wanted.uri: wanted for wanted in known}
        self._tell = tell
        self._lock = threading.Lock()

    @property
    def uris(self) -> list[str]:
        """Every --model that is followed."""
        return list(self._last)

    def last(self, uri: str) -> Wanted:
        """What holds now."""
        with self._lock:
            return self._last[uri]

    @property
    def owing(self) -> bool:
        """Whether the registry was not yet told of something that was withdrawn."""
        with self._lock:
            return any(wanted.withdrawn for wanted in self._last.values())

    def follow(self, wanted: Wanted, *, told: Collection[str], ramped: str | None = None) -> bool:
        """The registry wants this, and was told of these withdrawn versions.

        What was withdrawn while it was asked stays so. Nothing is said if nothing has changed, nor
        of a route that lacks a version: until that is here another route may take its place.
        Returns False, and changes nothing, where a ramp has brought the withdrawn version `ramped`
        to its end.
        """
        with self._lock:
            last = self._last[wanted.uri]
            if ramped in last.withdrawn and wanted.route and wanted.route.split.reference == ramped:
                return False
            wanted = wanted.withdrawing(last.withdrawn)
            wanted = replace(wanted, withdrawn=wanted.withdrawn.difference(told))
            if wanted.awaited:  # of what was withdrawn the registry knows all the same
                wanted = replace(last, withdrawn=last.withdrawn & wanted.withdrawn)
            if wanted != last:
                self._give(wanted)
        _log_refused(wanted, before=last)
        return True

    def withdraw(self, uri: str, version: str, *, served: Wanted) -> Wanted | None:
        """Without this version, from now on. `served` is what answers, where the last order cannot
        be taken, or not yet; that one stays all the same. Returns what of `served` is left, or None
        where the version is to have everything: then that was decided meanwhile.
        """
        with self._lock:
            last = self._last[uri]
            if last.route is not None and last.route.split.reference == version:
                return None
            left = served.withdrawing({version})
            if last != served:
                self._give(left)
            self._give(last.withdrawing({version}))
        return left

    def _give(self, wanted: Wanted) -> None:
        self._last[wanted.uri] = wanted
        self._tell(Polled(wanted))


def _log_refused(wanted: Wanted, *, before: Wanted) -> None:
    known = {refusal.version for refusal in before.refused}
    for refusal in wanted.refused:
        if refusal.version not in known:
            log.error("a version is refused", extra={"fields": refusal.log_fields()})
