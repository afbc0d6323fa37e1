"""Conductor: takes what the watcher and the workers say to the fleet, and what follows to all."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from serving.routing.administration import refusal, too_late
from serving.routing.messages import (
    Call,
    Hold,
    Holding,
    Look,
    NotTaken,
    Observed,
    Polled,
    Result,
    Routes,
    Settled,
)
from serving.slot import API, SHADOW, WATCHER, WORKER

if TYPE_CHECKING:
    from bundle.uri import Resolved
    from serving.metrics import MetricsCollector
    from serving.routing.fleet import Fleet
    from serving.routing.wanted import Wanted
    from serving.slot import Slot
    from serving.switchboard import Switchboard

log = logging.getLogger(__name__)

DIED = "the process died while it loaded this version"


class Conductor:
    """Part of the supervisor; has no threads."""

    def __init__(self, fleet: Fleet, *, board: Switchboard, metrics: MetricsCollector) -> None:
        self._fleet = fleet
        self._board = board
        self._metrics = metrics
        self._held = fleet.sources
        self._shadows = fleet.shadows
        self._shadow_loading: Resolved | None = None
        self._routes = Routes()
        self._look_owed = False
        """Whether somebody asked for a look at the registry while nobody could take one."""
        self._calls: dict[int, Call] = {}
        """What the watcher has been asked, and has not answered."""
        self._waiting: list[Call] = []
        """What it is to be asked when there is one again."""
        self._draining = False
        self._settled: dict[str, Wanted] = {w.uri: w for w in fleet.settled}
        self._count_shares(Routes(fleet.routes))

    def greet(self, slot: Slot) -> None:
        """A process has just been started: it is told what others know already."""
        if slot.kind == API:
            self._board.send(slot, self._now())
        elif slot.kind == WORKER:
            self._board.send(slot, Hold(self._held))
        elif slot.kind == SHADOW:
            self._board.send(slot, Hold(self._shadows))

    def ready(self, slot: Slot) -> None:
        """A process that was started hears now."""
        if slot.kind != WATCHER:
            return
        if self._look_owed:
            self._look_owed = False
            self._board.offer(WATCHER, Look())
        self._forward_waiting()

    def drain(self) -> None:
        """The server stops: no other watcher comes."""
        self._draining = True
        self._forward_waiting()

    def hear(self, slot: Slot, message: object) -> None:
        """Something that is not about the process itself."""
        if isinstance(message, Polled):
            self._log_refused(self._fleet.want(message.wanted))
            self._follow()
        elif isinstance(message, Holding) and slot.kind == SHADOW:
            self._shadow_loading = message.loading
            for source, reason in message.refused:
                self._log_refused(self._fleet.refuse_shadow(source, reason))
            self._follow()
        elif isinstance(message, Holding):
            self._log_refused(
                self._fleet.report(
                    slot.index,
                    message.sources,
                    refused=message.refused,
                    loading=message.loading,
                    used=message.used,
                )
            )
            self._follow()
        elif isinstance(message, Look) and self._board.find(WATCHER, 0) is None:
            self._look_owed = True
        elif isinstance(message, (Observed, Look)):
            self._board.offer(WATCHER, message)
        elif isinstance(message, Call):
            self._forward(replace(message, process=slot.index))
        elif isinstance(message, Result):
            self._calls.pop(message.id, None)
            self._answer(message)

    def buried(self, slot: Slot) -> bool:
        """A process is dead. Returns whether a version was its death, which is refused now."""
        if slot.kind == SHADOW and self._shadow_loading is not None:
            refused = self._fleet.refuse_shadow(self._shadow_loading, DIED)
            self._shadow_loading = None
        elif slot.kind == WORKER:
            refused = self._fleet.lost(slot.index)
        else:
            if slot.kind == WATCHER:
                self._look_owed = True  # it may have heard of one, or have changed something
                self._drop_calls()
            return False
        self._log_refused(refused)
        self._follow()
        return bool(refused)

    def _follow(self) -> None:
        """Tell what has changed, to those whom it concerns."""
        held = self._fleet.sources
        if held != self._held:
            self._held = held
            self._board.tell(WORKER, Hold(held))
        if self._fleet.shadows != self._shadows:
            self._shadows = self._fleet.shadows
            self._board.tell(SHADOW, Hold(self._shadows))
        routes = self._now()
        if routes != self._routes:
            self._count_shares(routes)
            self._routes = routes
            self._board.tell(API, routes)
        for wanted in self._fleet.settled:
            if self._settled.get(wanted.uri) != wanted:
                self._settled[wanted.uri] = wanted
                self._log_settled(wanted)
                self._board.tell(WATCHER, Settled(wanted))

    def _now(self) -> Routes:
        return Routes(self._fleet.routes, self._fleet.refused)

    def _forward_waiting(self) -> None:
        calls, self._waiting = self._waiting, []
        for call in calls:
            self._forward(call)

    def _forward(self, call: Call) -> None:
        watcher = self._board.find(WATCHER, 0)
        if watcher is not None:
            self._calls[call.id] = call
            self._board.send(watcher, call)
        elif self._fleet.wanted and self._draining:
            self._answer(
                refusal(call, 503, "the server stops: nothing was done", "ask another server")
            )
        elif self._fleet.wanted:
            self._drop_expired()
            self._waiting.append(call)
        else:
            remedy = "serve models:/NAME, or use models.py"
            self._answer(refusal(call, 404, "this server follows no registry", remedy))

    def _drop_expired(self) -> None:
        """Of those that wait: nobody waits for an answer to them any more."""
        now = time.monotonic()
        for call in [call for call in self._waiting if call.expires <= now]:
            self._waiting.remove(call)
            self._answer(too_late(call))

    def _drop_calls(self) -> None:
        """The process that was asked is dead: nobody will answer these."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            message = "the process that asks the registry died; the change may have been made"
            self._answer(refusal(call, 503, message, "look whether it was, and try again"))

    def _answer(self, result: Result) -> None:
        asking = self._board.find(API, result.process)
        if asking is not None:
            self._board.send(asking, result)

    def _log_refused(self, refused: list[tuple[Wanted, Resolved, str]]) -> None:
        for wanted, source, reason in refused:
            fields = {"model": source.name, "version": source.version, "reason": reason}
            log.error("a version is refused", extra={"fields": fields})
            self._board.tell(WATCHER, NotTaken(wanted.uri, source.version, reason))

    def _log_settled(self, wanted: Wanted) -> None:
        if wanted.route is not None:
            fields = {"model": wanted.route.name, "percent": wanted.route.split.shares}
            log.info("routed", extra={"fields": fields})

    def _count_shares(self, routes: Routes) -> None:
        """As metrics; a version that answers nothing any more has a share of 0."""
        gone = {(r.name, version) for r in self._routes.routes for version in r.split.versions}
        for route in routes.routes:
            for version, percent in route.split.shares.items():
                gone.discard((route.name, version))
                self._metrics.route(route.name, version, percent)
        for name, version in gone:
            self._metrics.route(name, version, 0.0)
