"""Supervisor: starts the processes, replaces those that die, and brings all of them to an end.

It runs in the parent, without threads, and blocks until a process, a pipe or a signal wakes it.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from serving import listener as listening
from serving.conductor import Conductor
from serving.control import Drain, Failed, Ready, ShadowUp, Stop, WorkerUp
from serving.drain import DrainPlan
from serving.errors import StartError
from serving.guard import any_admin
from serving.metrics import MetricsCollector
from serving.routing.budget import MIB, Budget
from serving.routing.fleet import Fleet
from serving.server import TrainyardServer
from serving.settings import ROLLBACK
from serving.signals import signals_as_bytes, signals_held
from serving.slot import API, SHADOW, WATCHER, WORKER, Child, Slot
from serving.switchboard import Switchboard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serving.guard import ApiKey
    from serving.routing.fleet import Start
    from serving.server import Closable
    from serving.settings import Settings

log = logging.getLogger(__name__)

STOP_SECONDS = 3.0
"""How long after the deadline API processes may take to leave."""
WORKER_STOP_SECONDS = 1.0
"""How long a worker may take to leave at least, once nobody waits for what it does."""
WORKER_PATIENCE_SECONDS = 5.0
"""The same where the deadline is further off: it may run what a client has left behind."""
WATCHER_STOP_SECONDS = 2.0
"""How long the watcher may take, which may be writing to the registry."""

UNSAID_SECONDS = 0.1
"""After which it looks again whether a process hears what it could not be told."""

REPEAT_SECONDS = 1.0
"""A second signal within this time is the first one once more, by way of the process group."""


class ForcedStopError(Exception):
    """A second signal: stop now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Supervisor:
    """One run of the server."""

    def __init__(
        self,
        settings: Settings,
        starts: Sequence[Start],
        directory: Path,
        *,
        keys: tuple[ApiKey, ...],
        secret: str = "",
    ) -> None:
        """`secret`: of the webhook, empty for none."""
        self._settings = settings
        self._metrics = MetricsCollector()
        self._fleet = Fleet(
            starts,
            Budget(
                settings.max_models,
                int(settings.memory_budget_mb * MIB),
                variant=settings.variant,
            ),
        )
        self._server = TrainyardServer(settings, directory=directory, keys=keys, secret=secret)
        self._slots = [Slot(API, index) for index in range(settings.api_processes)]
        self._slots += [Slot(WORKER, index) for index in range(settings.workers)]
        if self._fleet.wanted:
            self._slots.append(Slot(SHADOW, 0))
            looks = settings.poll_seconds > 0 or any_admin(keys) or bool(secret)
            if looks or settings.guardrail == ROLLBACK:
                self._slots.append(Slot(WATCHER, 0))
        self._board = Switchboard(self._slots)
        self._conductor = Conductor(self._fleet, board=self._board, metrics=self._metrics)
        polled = [start.polled_at for start in starts if not start.wanted.pinned]
        if polled and settings.poll_seconds > 0:  # else its age would say nothing
            self._metrics.registry_polled(min(polled))
        self._serving = False
        """Whether all API processes and workers have been ready: who dies from then on is replaced,
        and is no reason not to start.
        """
        self._announced = False
        self._plan: DrainPlan | None = None
        self._clean = True
        """Whether all that have left since the plan was made did so in order."""
        self._signalled_at: float | None = None
        self._broken: StartError | None = None
        """Why it ends, where it is not by a signal."""

    def run(self) -> int:
        """Serve until a signal comes. Returns the exit code; raises StartError where it cannot
        begin, or go on.
        """
        self._listener = listening.bind(self._settings.host, self._settings.port)
        self._url = listening.url(self._listener, self._settings.host)
        with signals_as_bytes() as self._wakeup:
            try:
                for slot in self._slots:
                    if slot.kind != SHADOW:
                        self._start(slot)
                while self._plan is None:
                    self._step(self._next_restart())
                code = self._drain(self._plan)
                if self._broken is not None:
                    raise self._broken
                return code
            except ForcedStopError as order:
                return order.exit_code
            finally:
                self._kill_all()
                self._listener.close()

    def _start(self, slot: Slot) -> None:
        ours, theirs = multiprocessing.Pipe()
        slot.generation += 1
        slot.restart_at = None
        others = [other.child.control for other in self._slots if other.child is not None]
        foreign: list[Closable] = [ours, *others, self._wakeup]
        if slot.kind != API:
            foreign.append(self._listener)
        with signals_held():
            if slot.kind == WORKER:
                process = self._server.fork_worker(
                    slot.index,
                    generation=slot.generation,
                    control=theirs,
                    sources=self._fleet.sources,
                    pinned=self._fleet.pinned,
                    foreign=foreign,
                )
            elif slot.kind == SHADOW:
                process = self._server.fork_shadow(
                    generation=slot.generation, control=theirs, foreign=foreign
                )
            elif slot.kind == WATCHER:
                process = self._server.spawn_watcher(
                    control=theirs, wanted=self._fleet.wanted, settled=self._fleet.settled
                )
            else:
                process = self._server.fork_api(
                    slot.index,
                    first=slot.generation == 1,
                    control=theirs,
                    listener=self._listener,
                    foreign=foreign,
                )
        theirs.close()
        slot.child = Child(process, ours)
        self._conductor.greet(slot)
        if slot.kind == API:
            for other in self._slots:
                if other.kind in (WORKER, SHADOW) and other.child is not None and other.ready:
                    self._board.send(slot, self._up(other, other.child))

    def _up(self, slot: Slot, child: Child) -> WorkerUp | ShadowUp:
        address = self._server.address(slot.name, generation=slot.generation)
        return WorkerUp(address) if slot.kind == WORKER else ShadowUp(address, child.pid)

    def _step(self, until: float | None) -> None:
        """Wait for something to happen, and see to it."""
        if self._board.unsaid:
            soon = time.monotonic() + UNSAID_SECONDS
            until = soon if until is None else min(until, soon)
        timeout = None if until is None else max(0.0, until - time.monotonic())
        running = [(slot, slot.child) for slot in self._slots if slot.child is not None]
        sources: list[Any] = [self._wakeup]
        for _, child in running:
            sources += [child.process.sentinel, child.control]
        events = set(wait(sources, timeout))
        if self._wakeup in events:
            self._obey_signals()
        for slot, child in running:
            if child.control in events or child.process.sentinel in events:
                self._hear(slot, child)
            if child.process.sentinel in events:
                self._bury(slot, child)
        self._board.say()
        self._tend_shadows()
        self._restart_due()

    def _hear(self, slot: Slot, child: Child) -> None:
        """Everything that the process has said so far."""
        try:
            while child.control.poll():
                message = child.control.recv()
                if isinstance(message, Ready):
                    self._ready(slot, child)
                elif isinstance(message, Failed):
                    child.reason = message
                else:
                    self._conductor.hear(slot, message)
        except (EOFError, OSError):
            # It has hung up, so it is dying: the sentinel comes next.
            child.process.join(STOP_SECONDS)

    def _ready(self, slot: Slot, child: Child) -> None:
        child.ready_since = time.monotonic()
        fields = {"process": slot.name, "pid": child.pid}
        log.info("process ready", extra={"fields": fields})
        self._conductor.ready(slot)
        if slot.kind in (WORKER, SHADOW):
            self._board.tell(API, self._up(slot, child))
        self._announce()

    def _announce(self) -> None:
        """Once, when requests are answered and the registry is followed; a watcher that does not
        start is not waited for.
        """
        vital = [slot for slot in self._slots if slot.kind in (API, WORKER)]
        self._serving = self._serving or all(slot.ready for slot in vital)
        watched = all(s.ready or s.failures for s in self._slots if s.kind == WATCHER)
        if self._serving and watched and not self._announced and self._plan is None:
            self._announced = True
            print(f"ready {self._url}", file=sys.stderr, flush=True)

    def _bury(self, slot: Slot, child: Child) -> None:
        """The process is dead. Decide what follows."""
        child.process.join()
        child.control.close()
        slot.child = None
        if slot.kind == API:
            self._server.api_left(slot.index)
        if self._plan is not None:
            self._bury_on_the_way_out(slot, child)
            return
        if slot.kind == SHADOW and (child.process.exitcode == 0 or not self._fleet.shadows):
            self._metrics.left(child.pid)  # as it was told
            return
        survivable = self._conductor.buried(slot) or slot.kind in (WATCHER, SHADOW)
        if not self._serving and not survivable:
            raise (
                child.reason.error()
                if child.reason is not None
                else StartError(
                    f"{slot.name} died at the start, exit code {child.process.exitcode}"
                )
            )
        self._metrics.death(slot.kind, child.pid)
        self._replace(slot, child)
        self._announce()

    def _bury_on_the_way_out(self, slot: Slot, child: Child) -> None:
        """Nobody takes its place. One that dies before it has done its part has failed whoever
        waited for it.
        """
        if slot.kind == WATCHER:
            self._conductor.buried(slot)
        elif slot.kind in (API, WORKER) and child.process.exitcode != 0:
            self._clean = False
            self._metrics.death(slot.kind, child.pid)
            fields = {"process": slot.name, "reason": child.why}
            log.error("process died while the server stopped", extra={"fields": fields})

    def _replace(self, slot: Slot, child: Child) -> None:
        delay = slot.plan_restart(child)
        if delay is None:
            self._give_up(StartError(f"{slot.name} cannot be replaced: {child.why}"))
            return
        log.error(
            "process died, and is replaced",
            extra={"fields": {"process": slot.name, "reason": child.why, "delay_seconds": delay}},
        )

    def _tend_shadows(self) -> None:
        """Their process runs while there are any; it never keeps the server from its start."""
        for slot in self._slots:
            if slot.kind == SHADOW and self._announced and self._plan is None:
                if slot.child is None and slot.restart_at is None and self._fleet.shadows:
                    self._start(slot)
                elif not self._fleet.shadows:
                    self._board.offer(SHADOW, Stop())  # again and again: it may stand still

    def _next_restart(self) -> float | None:
        return min((s.restart_at for s in self._slots if s.restart_at is not None), default=None)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if self._plan is None and slot.restart_at is not None and slot.restart_at <= now:
                self._start(slot)

    def _obey_signals(self) -> None:
        for number in self._wakeup.recv(4096):
            if self._signalled_at is not None:
                if time.monotonic() - self._signalled_at > REPEAT_SECONDS:
                    raise ForcedStopError(number)
                continue
            self._signalled_at = time.monotonic()
            log.info("draining", extra={"fields": {"signal": signal.Signals(number).name}})
            self._plan = self._plan or self._plan_end()

    def _give_up(self, error: StartError) -> None:
        """The server ends, as it would by a signal where it has answered requests."""
        if not self._serving:
            raise error
        log.error("draining", extra={"fields": {"reason": str(error)}})
        self._broken, self._plan = error, self._plan_end()

    def _plan_end(self) -> DrainPlan:
        return DrainPlan.begin(
            delay_ms=self._settings.drain_delay_ms, timeout_ms=self._settings.drain_timeout_ms
        )

    def _drain(self, plan: DrainPlan) -> int:
        """API processes finish, then workers leave. Returns the exit code."""
        if not self._serving and not any(slot.ready for slot in self._slots if slot.kind == API):
            return 0
        self._listener.close()
        self._board.tell(API, Drain(plan))
        self._conductor.drain()
        self._expect_end(API, until=plan.deadline + STOP_SECONDS)
        self._board.tell(WATCHER, Stop())
        self._board.offer(SHADOW, Stop())
        self._board.tell(WORKER, Stop())
        now = time.monotonic()
        patience = min(plan.deadline, now + WORKER_PATIENCE_SECONDS)
        self._expect_end(WORKER, until=max(patience, now + WORKER_STOP_SECONDS))
        self._wait_for(WATCHER, until=time.monotonic() + WATCHER_STOP_SECONDS)
        log.info("stopped", extra={"fields": {"clean": self._clean}})
        return 0 if self._clean else 1

    def _expect_end(self, kind: str, *, until: float) -> None:
        """Wait for all of that kind. One that does not leave has failed whoever waited for it; one
        that was never ready had nobody.
        """
        self._wait_for(kind, until=until)
        for slot in self._slots:
            if slot.kind == kind and slot.child is not None and (slot.ready or kind == API):
                self._clean = False
                fields = {"process": slot.name, "pid": slot.child.pid}
                log.error("process did not finish in time", extra={"fields": fields})

    def _wait_for(self, kind: str, *, until: float) -> None:
        """Until all processes of that kind are gone, or so long. What has happened by then is seen
        also where this process was held up meanwhile.
        """
        late = False
        while not late and any(s.kind == kind and s.child is not None for s in self._slots):
            late = time.monotonic() >= until
            self._step(until)

    def _kill_all(self) -> None:
        children = [slot.child for slot in self._slots if slot.child is not None]
        for child in children:
            child.process.kill()
        for child in children:
            child.process.join()
