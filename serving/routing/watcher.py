"""Watcher: asks the registry, judges challengers, and tells the supervisor what follows."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bundle.command import describe
from bundle.errors import NotFoundError, RecordError, TrainyardError
from serving.routing.guardrail import Verdict
from serving.routing.messages import Polled
from serving.settings import OFF, ROLLBACK

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from serving.metrics import MetricsCollector
    from serving.routing.follower import Follower
    from serving.routing.last_known_good import LastKnownGood
    from serving.routing.messages import Fetched, NotTaken, Observed
    from serving.routing.sentry import Finding, Sentry
    from serving.routing.wanted import Wanted

log = logging.getLogger(__name__)

GUARDRAIL = "guardrail"
"""Who took the traffic from a version, in the registry's history."""
RAMP = "ramp"
"""Who gave it more."""
HANGING_SECONDS = 3.0
"""A registry that fails after so long a time is not asked again before the next poll."""


class Watcher:
    """Tells the supervisor what the registry wants, each time that it wants something else."""

    def __init__(
        self,
        followers: dict[str, Follower],
        *,
        known: tuple[Wanted, ...],
        store: LastKnownGood,
        control: Connection,
        metrics: MetricsCollector,
        sentry: Sentry | None,
        periodic: bool,
    ) -> None:
        """Without a `sentry` no challenger is judged. `periodic`: whether it polls unasked; if not,
        how long ago it did says nothing, and is not told.
        """
        self._periodic = periodic
        self._sentry = sentry
        self._asked: set[tuple[str, str]] = set()
        """By uri and version: ramps that the registry did not let go on since the last poll."""
        self._warned: dict[str, str] = {}
        """By what it was about: the last reason that was logged."""
        self._followers = followers
        self._told = {wanted.uri: wanted for wanted in known}
        self._served: dict[str, Wanted] = {}
        self._store = store
        self._control = control
        self._metrics = metrics
        self._problem = ""

    def poll(self) -> None:
        """Ask for every model. That the registry is away is logged once, and once that it is back.

        A route is told when all that it needs is here; until then another one may take its place.
        Never raises: what is served stays.
        """
        problem = ""
        self._asked.clear()
        for uri, follower in self._followers.items():
            began = time.monotonic()
            try:
                wanted = self._judged(uri, follower)
            except (NotFoundError, RecordError) as error:  # it answers, and others are followed
                self._warn("a model cannot be followed: what is served stays", uri, error)
                continue
            except TrainyardError as error:
                problem = describe(error)
                if time.monotonic() - began > HANGING_SECONDS:
                    break  # it would not answer for the others, and the guardrail waits meanwhile
                continue
            self._warned.pop(uri, None)
            self._store.touch(uri)
            if wanted != self._told[uri] and not wanted.awaited:
                self._tell(wanted)
        if not problem and self._periodic:
            self._metrics.registry_polled(time.time())
        if bool(problem) != bool(self._problem):
            self._log(problem)
        self._problem = problem

    @property
    def owing(self) -> bool:
        """Whether the registry was not yet told of something that was withdrawn."""
        return any(wanted.withdrawn for wanted in self._told.values())

    def fetched(self, message: Fetched) -> None:
        """A version has arrived, or cannot: who wants it now the registry says."""
        for follower in self._followers.values():
            follower.fetched(message)
        self.poll()

    def settled(self, wanted: Wanted) -> None:
        """The server answers so now, and may do so after its next start."""
        self._store.write(wanted)
        self.serves(wanted)

    def serves(self, wanted: Wanted) -> None:
        """What challengers do is counted from now on."""
        self._served[wanted.uri] = wanted
        if self._sentry is not None:
            self._sentry.settled(wanted)

    def observed(self, message: Observed) -> None:
        """How versions did: one that is worse than the champion loses its traffic."""
        if self._sentry is None or not self._sentry.observed(message):
            return
        for found in list(self._sentry.findings()):
            withdrawn = self._told[found.uri].withdrawn
            verdict = found.judgement.verdict
            if verdict is Verdict.ROLLBACK and found.version not in withdrawn:
                if self._withdraw(found.uri, found.version, found.judgement.reason):
                    self.poll()  # what was on its way is wanted still
            elif verdict is Verdict.ADVANCE and self._advance(found):
                self.poll()

    def judgements(self, model: str) -> dict[str, Any]:
        """What is thought of each challenger of the registered model, as JSON, and whether at all.

        Raises NotFoundError if the model is not followed.
        """
        uris = [uri for uri, follower in self._followers.items() if follower.model == model]
        if not uris:
            raise NotFoundError(
                f"this server does not follow the model {model!r}",
                field="model",
                remedy="ask the server whose traffic the challenger has",
            )
        sentry = self._sentry
        if sentry is None:
            return {"guardrail": OFF, "challengers": []}
        found = [judged.to_dict() for uri in uris for judged in sentry.judgements(uri)]
        return {"guardrail": ROLLBACK, "challengers": found}

    def _withdraw(self, uri: str, version: str, reason: str) -> bool:
        """Here first, since the registry may be away; it is told now, or else at a later poll.

        Where the registry wants a route that cannot be taken, what answers is the one before.
        """
        told = self._told[uri]
        before = told if version in told.needed else self._served[uri]
        wanted = before.withdrawing({version})
        self._tell(wanted)
        if self._sentry is not None:
            self._sentry.forget(uri, version)
        name = "" if wanted.route is None else wanted.route.name
        self._metrics.withdrawn(name, version)
        fields = {"model": name, "version": version, "reason": reason}
        log.error("a challenger is rolled back", extra={"fields": fields})
        try:
            self._tell_registry(uri, version)
        except TrainyardError as error:
            log.warning(
                "the registry is not told yet", extra={"fields": {"reason": describe(error)}}
            )
            return False
        return True

    def _tell_registry(self, uri: str, version: str) -> None:
        """What it says of the version from then on holds."""
        self._followers[uri].withdraw(version, who=GUARDRAIL)
        told = self._told[uri]
        self._tell(replace(told, withdrawn=told.withdrawn - {version}))

    def _advance(self, found: Finding) -> bool:
        """Whether a ramp gives the version more, now that it is no worse with what it had.

        The registry is asked once between two polls, or as often as it says yes.
        """
        uri, version = found.uri, found.version
        if (uri, version) in self._asked:
            return False
        self._asked.add((uri, version))
        try:
            event = self._followers[uri].advance(version, seen=found.percent, who=RAMP)
        except TrainyardError as error:
            self._warn("a ramp cannot go on", f"{uri} {version}", error)
            return False
        self._warned.pop(f"{uri} {version}", None)
        if event is None:
            return False
        fields = {"version": version, "percent": event.after.shares[int(version)]}
        log.info("a challenger advances", extra={"fields": {"model": uri, **fields}})
        return True

    def _judged(self, uri: str, follower: Follower) -> Wanted:
        """What the registry wants, without what was withdrawn and the registry does not know of.

        A registry that may only be read is never told, and followed all the same.
        """
        wanted = follower.poll().withdrawing(self._told[uri].withdrawn)
        for version in sorted(wanted.withdrawn):
            with suppress(TrainyardError):  # which was logged when it was first tried
                self._tell_registry(uri, version)
        return replace(wanted, withdrawn=wanted.withdrawn & self._told[uri].withdrawn)

    def not_taken(self, message: NotTaken) -> None:
        """The version does not run here; it is not offered again for a while."""
        self._followers[message.uri].refused(message.version, message.reason)

    def _tell(self, wanted: Wanted) -> None:
        known = {refusal.version for refusal in self._told[wanted.uri].refused}
        for refusal in wanted.refused:
            if refusal.version not in known:
                log.error("a version is refused", extra={"fields": refusal.log_fields()})
        self._told[wanted.uri] = wanted
        self._control.send(Polled(wanted))

    def _warn(self, message: str, subject: str, error: TrainyardError) -> None:
        """Once, until the reason is another one, or gone."""
        reason = describe(error)
        if self._warned.get(subject) != reason:
            self._warned[subject] = reason
            log.warning(message, extra={"fields": {"model": subject, "reason": reason}})

    def _log(self, problem: str) -> None:
        if problem:
            log.warning(
                "the registry cannot be asked: what is served stays",
                extra={"fields": {"reason": problem}},
            )
        else:
            log.info("the registry answers again")
