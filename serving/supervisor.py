"""Supervisor: starts the processes, replaces those that die, and brings all of them to an end.

It runs in the parent, without threads, and blocks until a process, a pipe or a signal wakes it.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from serving import listener as listening
from serving.control import Drain, Failed, Ready, Stop, WorkerUp
from serving.drain import DrainPlan
from serving.errors import StartError
from serving.metrics import MetricsCollector
from serving.server import TrainyardServer
from serving.signals import signals_as_bytes, signals_held

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from bundle.uri import Resolved
    from serving.guard import ApiKey
    from serving.settings import Settings

log = logging.getLogger(__name__)

API = "api"
WORKER = "worker"

STABLE_SECONDS = 30.0
"""A process that was ready for so long has started well; what happened before is forgotten."""
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 10.0
"""Back-off between the second and any later replacement of one process."""
MOST_FAILED_STARTS = 5
"""After so many replacements that did not get ready in a row the server gives up."""
STOP_SECONDS = 3.0
"""How long after the deadline API processes may take to leave."""
WORKER_STOP_SECONDS = 1.0
"""How long a worker may take to leave, once nobody waits for what it does."""

REPEAT_SECONDS = 1.0
"""A second signal within this time is the first one once more, by way of the process group."""


class ForcedStopError(Exception):
    """A second signal: stop now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@dataclass
class Child:
    """A process that runs, or has just died."""

    process: BaseProcess
    control: Connection
    ready_since: float | None = None
    reason: Failed | None = None
    """What it said before it left."""


@dataclass
class Slot:
    """A place that a process fills, and that its replacements fill after it."""

    kind: str
    index: int
    child: Child | None = None
    generation: int = 0
    failures: int = 0
    """Deaths in a row, each soon after the start."""
    restart_at: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.index}"


class Supervisor:
    """One run of the server."""

    def __init__(
        self,
        settings: Settings,
        sources: list[Resolved],
        directory: Path,
        *,
        keys: tuple[ApiKey, ...],
    ) -> None:
        self._settings = settings
        self._metrics = MetricsCollector()
        self._server = TrainyardServer(settings, sources=sources, directory=directory, keys=keys)
        self._slots = [Slot(API, index) for index in range(settings.api_processes)]
        self._slots += [Slot(WORKER, index) for index in range(settings.workers)]
        self._announced = False
        self._plan: DrainPlan | None = None
        self._signalled_at = 0.0

    def run(self) -> int:
        """Serve until a signal comes. Returns the exit code; raises StartError."""
        self._listener = listening.bind(self._settings.host, self._settings.port)
        self._url = listening.url(self._listener, self._settings.host)
        with signals_as_bytes() as self._wakeup:
            try:
                for slot in self._slots:
                    self._start(slot)
                while self._plan is None:
                    self._step(self._next_restart())
                return self._drain(self._plan)
            except ForcedStopError as order:
                return order.exit_code
            finally:
                self._kill_all()
                self._listener.close()

    def _start(self, slot: Slot) -> None:
        ours, theirs = multiprocessing.Pipe()
        slot.generation += 1
        slot.restart_at = None
        with signals_held():
            if slot.kind == WORKER:
                process = self._server.spawn_worker(
                    slot.index, generation=slot.generation, control=theirs
                )
            else:
                others = [other.child.control for other in self._slots if other.child is not None]
                process = self._server.fork_api(
                    slot.index,
                    first=slot.generation == 1,
                    control=theirs,
                    listener=self._listener,
                    foreign=[ours, *others, self._wakeup],
                )
        theirs.close()
        slot.child = Child(process, ours)
        if slot.kind == API:
            for worker in self._slots:
                if worker.kind == WORKER and _is_ready(worker):
                    self._send(slot, self._worker_up(worker))

    def _worker_up(self, slot: Slot) -> WorkerUp:
        return WorkerUp(self._server.address(slot.index, generation=slot.generation))

    def _send(self, slot: Slot, message: object) -> None:
        """To a process that may be dying: then its end says so, and there is nothing to add."""
        if slot.child is not None:
            with contextlib.suppress(OSError):
                slot.child.control.send(message)

    def _step(self, until: float | None) -> None:
        """Wait for something to happen, and see to it."""
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
        except (EOFError, OSError):
            # It has hung up, so it is dying: the sentinel comes next.
            child.process.join(STOP_SECONDS)

    def _ready(self, slot: Slot, child: Child) -> None:
        child.ready_since = time.monotonic()
        log.info("process ready", extra={"fields": {"process": slot.name}})
        if slot.kind == WORKER:
            for other in self._slots:
                if other.kind == API:
                    self._send(other, self._worker_up(slot))
        if not self._announced and all(map(_is_ready, self._slots)):
            self._announced = True
            print(f"ready {self._url}", file=sys.stderr, flush=True)

    def _bury(self, slot: Slot, child: Child) -> None:
        """The process is dead. Decide what follows."""
        child.process.join()
        child.control.close()
        slot.child = None
        if self._plan is not None:
            return
        if not self._announced:
            raise (
                child.reason.error()
                if child.reason is not None
                else StartError(
                    f"{slot.name} died at the start, exit code {child.process.exitcode}"
                )
            )
        self._metrics.death(slot.kind, child.process.pid or 0)
        self._replace(slot, child)

    def _replace(self, slot: Slot, child: Child) -> None:
        """Soon, or a little later each time; and not for ever if it never gets ready."""
        now = time.monotonic()
        since = child.ready_since
        slot.failures = (
            1 if since is not None and now - since > STABLE_SECONDS else slot.failures + 1
        )
        reason = child.reason.reason if child.reason else f"exit code {child.process.exitcode}"
        if since is None and slot.failures > MOST_FAILED_STARTS:
            raise StartError(f"{slot.name} cannot be replaced: {reason}")
        delay = 0.0
        if slot.failures > 1:
            delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (slot.failures - 2))
        slot.restart_at = now + delay
        log.error(
            "process died, and is replaced",
            extra={"fields": {"process": slot.name, "reason": reason, "delay_seconds": delay}},
        )

    def _next_restart(self) -> float | None:
        return min((s.restart_at for s in self._slots if s.restart_at is not None), default=None)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if self._plan is None and slot.restart_at is not None and slot.restart_at <= now:
                self._start(slot)

    def _obey_signals(self) -> None:
        for number in self._wakeup.recv(4096):
            if self._plan is not None:
                if time.monotonic() - self._signalled_at > REPEAT_SECONDS:
                    raise ForcedStopError(number)
                continue
            self._signalled_at = time.monotonic()
            log.info("draining", extra={"fields": {"signal": signal.Signals(number).name}})
            self._plan = DrainPlan.begin(
                delay_ms=self._settings.drain_delay_ms, timeout_ms=self._settings.drain_timeout_ms
            )

    def _drain(self, plan: DrainPlan) -> int:
        """API processes finish, then workers leave. Returns the exit code."""
        if not self._announced:
            return 0
        self._listener.close()
        self._tell(API, Drain(plan))
        clean = self._wait_for(API, until=plan.deadline + STOP_SECONDS)
        self._tell(WORKER, Stop())
        self._wait_for(WORKER, until=time.monotonic() + WORKER_STOP_SECONDS)
        log.info("stopped", extra={"fields": {"clean": clean}})
        return 0 if clean else 1

    def _tell(self, kind: str, message: object) -> None:
        for slot in self._slots:
            if slot.kind == kind:
                self._send(slot, message)

    def _wait_for(self, kind: str, *, until: float) -> bool:
        """Whether all processes of that kind are gone in time."""
        while any(slot.kind == kind and slot.child is not None for slot in self._slots):
            if time.monotonic() >= until:
                return False
            self._step(until)
        return True

    def _kill_all(self) -> None:
        children = [slot.child for slot in self._slots if slot.child is not None]
        for child in children:
            child.process.kill()
        for child in children:
            child.process.join()


def _is_ready(slot: Slot) -> bool:
    return slot.child is not None and slot.child.ready_since is not None
