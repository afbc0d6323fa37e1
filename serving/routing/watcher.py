"""Watcher: asks the registry what to serve, and tells it what became of its challengers."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from bundle.command import describe
from bundle.errors import NotFoundError, RecordError, TrainyardError

if TYPE_CHECKING:
    from serving.metrics import MetricsCollector
    from serving.routing.follower import Follower
    from serving.routing.last_known_good import LastKnownGood
    from serving.routing.messages import Advance, Fetched, NotTaken
    from serving.routing.orders import Orders
    from serving.routing.wanted import Wanted

log = logging.getLogger(__name__)

GUARDRAIL = "guardrail"
"""Who took the traffic from a version, in the registry's history."""
RAMP = "ramp"
"""Who gave it more."""
UNFOLLOWED = "a model cannot be followed: what is served stays"
UNTOLD = "the registry is not told yet"
NO_RAMP = "a ramp cannot go on"
HANGING_SECONDS = 3.0
"""A registry that fails after so long a time is not asked again before the next poll."""
STALE_SECONDS = 2.0
"""Age from which on a good judgement says nothing: the registry may have taken long meanwhile."""


class Watcher:
    """Has the orders follow the registry."""

    def __init__(
        self,
        followers: dict[str, Follower],
        *,
        orders: Orders,
        store: LastKnownGood,
        metrics: MetricsCollector,
        periodic: bool,
    ) -> None:
        """`periodic`: whether it polls unasked; if not, how long ago it did says nothing, and is
        not told.
        """
        self._followers = followers
        self._orders = orders
        self._store = store
        self._metrics = metrics
        self._periodic = periodic
        self._asked: set[tuple[str, str]] = set()
        """By uri and version: ramps that the registry did not let go on since the last poll."""
        self._ramped: dict[str, str] = {}
        """By uri: the version whose ramp went on, maybe to its end, since that was followed."""
        self._warned: dict[tuple[str, str, str], str] = {}
        """By message, uri and version: the last reason that was logged."""
        self._problem = ""

    def poll(self) -> None:
        """Ask for every model. That the registry is away is logged once, and once that it is back.

        Never raises: what is served stays.
        """
        problem = ""
        self._asked.clear()
        for uri, follower in self._followers.items():
            began = time.monotonic()
            try:
                wanted = follower.poll()
            except (NotFoundError, RecordError) as error:  # it answers, and others are followed
                self._warn(UNFOLLOWED, uri, error=error)
                continue
            except TrainyardError as error:
                problem = describe(error)
                if time.monotonic() - began > HANGING_SECONDS:
                    break  # it would not answer for the others, and admin calls wait meanwhile
                continue
            self._warned.pop((UNFOLLOWED, uri, ""), None)
            self._store.touch(uri)
            ramped = self._ramped.get(uri)
            if self._orders.follow(wanted, told=self._tell_withdrawn(wanted), ramped=ramped):
                self._ramped.pop(uri, None)
            elif ramped is not None:
                self._take_back(uri, ramped)
        if not problem and self._periodic:
            self._metrics.registry_polled(time.time())
        if bool(problem) != bool(self._problem):
            self._log(problem)
        self._problem = problem

    @property
    def owing(self) -> bool:
        """Whether the registry was not yet told of something that was withdrawn."""
        return self._orders.owing

    def fetched(self, message: Fetched) -> None:
        """A version has arrived, or cannot: who wants it now the registry says."""
        for follower in self._followers.values():
            follower.fetched(message)
        self.poll()

    def not_taken(self, message: NotTaken) -> None:
        """The version does not run here; it is not offered again for a while."""
        self._followers[message.uri].refused(message.version, message.reason)

    def advance(self, message: Advance) -> None:
        """Where a ramp gives it traffic, it gets more.

        The registry is asked once between two polls, or as often as it says yes.
        """
        uri, version = message.uri, message.version
        withdrawn = self._orders.last(uri).withdrawn  # maybe since it was found to be good
        stale = time.monotonic() - message.found > STALE_SECONDS
        if stale or (uri, version) in self._asked or version in withdrawn:
            return
        self._asked.add((uri, version))
        self._ramped[uri] = version
        try:
            event = self._followers[uri].advance(version, seen=message.percent, who=RAMP)
        except TrainyardError as error:
            self._warn(NO_RAMP, uri, version, error=error)
            return
        self._warned.pop((NO_RAMP, uri, version), None)
        if event is None:
            return
        fields = {"version": version, "percent": event.after.shares[int(version)]}
        log.info("a challenger advances", extra={"fields": {"model": uri, **fields}})
        self.poll()

    def _take_back(self, uri: str, version: str) -> None:
        """What the ramp has made champion while it was withdrawn: who was champion is so again.

        If the registry cannot be told, it is owed that, and the next look tries again.
        """
        route = self._orders.last(uri).route
        if route is None:
            return
        try:
            self._followers[uri].withdraw(
                version, who=GUARDRAIL, instead=int(route.split.reference)
            )
        except TrainyardError as error:
            self._warn(UNTOLD, uri, version, error=error)

    def _tell_withdrawn(self, wanted: Wanted) -> set[str]:
        """The registry, of what it still gives traffic; what it says from then on holds. Returns
        the versions that it was told of.

        A registry that may only be read is never told, and followed all the same.
        """
        told = set()
        withdrawn = self._orders.last(wanted.uri).withdrawn
        for version in sorted(wanted.withdrawing(withdrawn).withdrawn):
            try:
                self._followers[wanted.uri].withdraw(version, who=GUARDRAIL)
            except TrainyardError as error:
                self._warn(UNTOLD, wanted.uri, version, error=error)
            else:
                self._warned.pop((UNTOLD, wanted.uri, version), None)
                told.add(version)
        return told

    def _warn(self, message: str, uri: str, version: str = "", *, error: TrainyardError) -> None:
        """Once, until the reason is another one, or gone."""
        reason, key = describe(error), (message, uri, version)
        if self._warned.get(key) != reason:
            self._warned[key] = reason
            fields = {"model": uri, **({"version": version} if version else {}), "reason": reason}
            log.warning(message, extra={"fields": fields})

    def _log(self, problem: str) -> None:
        if problem:
            log.warning(
                "the registry cannot be asked: what is served stays",
                extra={"fields": {"reason": problem}},
            )
        else:
            log.info("the registry answers again")
