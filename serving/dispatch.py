"""Dispatcher: an API process's way to the workers, and back for the answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bundle.errors import TrainyardError
from serving import work
from serving.backlog import Backlog
from serving.deadlines import Deadlines
from serving.departure import ClientGoneError
from serving.errors import (
    DeadlineExceededError,
    ModelFailedError,
    RefusedSampleError,
    ServingError,
    TooLargeError,
    UnavailableError,
)
from serving.preprocessors import Preprocessors
from serving.run import Run
from serving.served_model import ModelInfo, ModelKey, Part, ServedModel
from serving.transport import Link, connect, log_unsent
from serving.wire import CANCEL, CATALOG, INFER, RELEASED, REPLY, Message, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from serving.catalog import Catalog
    from serving.departure import Departure

log = logging.getLogger(__name__)

LEAST_OF_LIMIT = 0.5
"""Of the server's limit a version must have run so much to be to blame for a 504: who sent the body
slowly, or waited long, leaves it less."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
"""Back-off between two attempts to reach a worker."""


class Answer(NamedTuple):
    """What a worker made of one part of a request."""

    outputs: Tensors
    queue_seconds: float
    infer_seconds: float


@dataclass(slots=True)
class _Worker:
    """A connected worker, and what it owes."""

    link: Link
    models: frozenset[ModelKey] = frozenset()
    """What it may be asked."""
    offered: frozenset[ModelKey] = frozenset()
    """What it goes on holding; the rest of `models` it keeps for requests that are on their way."""
    serial: int = 0
    """Of the catalog that it sent last."""
    pending: dict[int, _Pending] = field(default_factory=dict)
    overdue: dict[int, _Overdue] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)


class _Waiting:
    """A request that waits for the answers to its parts, or for the first error."""

    __slots__ = ("_answers", "_left", "_timeout_ms", "outcome", "runs")

    def __init__(self, parts: int, runs: list[Run], timeout_ms: float) -> None:
        self.runs = runs
        self._timeout_ms = timeout_ms
        self._answers: dict[int, Answer] = {}
        self._left = parts
        self.outcome: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()

    def answer(self, index: int, found: Answer) -> None:
        """The part with that index is answered."""
        self._answers[index] = found
        self._left -= 1
        if not self._left and not self.outcome.done():
            self.outcome.set_result([self._answers[index] for index in range(len(self._answers))])

    def expire(self) -> None:
        """The deadline has passed."""
        self.fail(DeadlineExceededError(self._timeout_ms))

    def abandon(self) -> None:
        """Nobody is left to be answered."""
        self.fail(ClientGoneError())

    def fail(self, error: Exception) -> None:
        """There will be no answer to the request, for that reason."""
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(slots=True)
class _Pending:
    """A part that waits for its answer."""

    id: int
    part: Part
    index: int
    """Its place in the request."""
    worker: _Worker
    request: _Waiting
    model: ModelKey
    deadline: float
    priority: int


@dataclass(frozen=True, slots=True)
class _Overdue:
    """A part of which nobody waits for the answer any more, until the worker says what it did."""

    model: ModelKey
    least: float
    """Seconds that it must have run to be the version's fault."""


class Dispatcher:
    """Sends parts to the worker that owes least, and wakes whoever waits for them.

    All of it runs on one event loop.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        on_change: Callable[[], None],
        on_overdue: Callable[[ModelKey, float], None] = lambda _, __: None,
        preprocessors: Preprocessors | None = None,
    ) -> None:
        """`on_overdue` is told of parts that the version ran until the server's own limit, with
        their share of the batch. `preprocessors`: those of the process.
        """
        self._catalog = catalog
        self._on_change = on_change
        self._on_overdue = on_overdue
        self._workers: dict[Link, _Worker] = {}
        self._ids = itertools.count()
        self._deadlines = Deadlines()
        self._preprocessors = preprocessors or Preprocessors()
        self._closed: Callable[[], ServingError] | None = None
        self._learning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        catalog.on_unused = self._release_all

    @property
    def workers(self) -> int:
        """Number of workers that are connected and have told their models."""
        return sum(1 for worker in self._workers.values() if worker.models)

    async def connect(self, address: Path) -> None:
        """Use the worker that listens there, for as long as it lives. What keeps this process from
        it passes, as where no descriptor is left: it is tried again while somebody listens there.
        """
        for delay in _growing_delays():
            try:
                link = await connect(
                    address,
                    on_messages=self._receive,
                    on_lost=self._lost,
                    on_unsent=self._unsent,
                )
            except (ConnectionRefusedError, FileNotFoundError) as error:
                _log_not_reached(error)
                return
            except OSError as error:
                _log_not_reached(error, delay_seconds=delay)
                await asyncio.sleep(delay)
            else:
                if link.open:
                    self._workers.setdefault(link, _Worker(link))
                return

    async def run(
        self,
        served: ServedModel,
        parts: Sequence[Part],
        *,
        deadline: float,
        timeout_ms: float,
        priority: int,
        routed: bool,
        departure: Departure | None = None,
        runs: list[Run] | None = None,
        own_limit: bool = False,
    ) -> list[Answer]:
        """The answers to the parts, in order. `deadline` is on time.monotonic's clock. `routed`:
        any version might have been asked, so what another one answers this one has to answer too.
        `departure`: of who asks, if that can go. What runs is added to `runs`, also where the
        request fails. `own_limit`: whether the deadline is the server's, and not the client's.

        Raises a ServingError if any of them fails, DeadlineExceededError when it is time, and
        ClientGoneError when nobody is left to answer; whatever still waits is then taken back.
        """
        if deadline <= time.monotonic():
            raise DeadlineExceededError(timeout_ms)
        request = _Waiting(len(parts), [] if runs is None else runs, timeout_ms)
        pending: list[_Pending] = []
        step = self._deadlines.add(request, deadline)
        try:
            if departure is not None:
                departure.watch(request.abandon)
            for index, part in enumerate(parts if not request.outcome.done() else ()):
                pending.append(
                    self._send(
                        served, part, index, request,
                        deadline=deadline, priority=priority, routed=routed,
                    )
                )  # fmt: skip
            return await request.outcome
        except DeadlineExceededError:
            if routed and own_limit:
                _await_verdict(pending, timeout_ms / 1000 * LEAST_OF_LIMIT)
            raise
        finally:
            self._deadlines.remove(request, step)
            if departure is not None:
                departure.forget()
            self._take_back(pending)
            # They have the error, whose traceback has them: a circle, and the tensors are in it.
            pending.clear()
            del request

    def check(self, served: ServedModel, *, samples: int, deadline: float, priority: int) -> None:
        """Raises UnavailableError if every worker would turn away so many samples, as it has just
        done with others of that priority.
        """
        key, now, least = served.key, time.monotonic(), math.inf
        for worker in self._able(key):
            wait = worker.backlog.wait((key, priority), samples=samples, deadline=deadline, now=now)
            if wait is None:
                return
            least = min(least, wait)
        if least < math.inf:
            raise _overloaded(least, late=True)

    def fail_all(self, reason: Callable[[], ServingError]) -> None:
        """Answer everything that waits, or is still to come, with an error."""
        self._closed = reason
        for worker in self._workers.values():
            _fail(worker.pending.values(), reason)

    def close(self) -> None:
        """Hang up."""
        for worker in list(self._workers.values()):
            worker.link.close()

    def _able(self, model: ModelKey) -> list[_Worker]:
        return [worker for worker in self._workers.values() if model in worker.models]

    def _send(
        self,
        served: ServedModel,
        part: Part,
        index: int,
        request: _Waiting,
        *,
        deadline: float,
        priority: int,
        routed: bool,
    ) -> _Pending:
        """The part is the business of the worker that owes least."""
        if self._closed is not None:
            raise self._closed()
        key = served.key
        able = self._able(key)
        if not able:
            raise UnavailableError("no worker is ready", code="not_ready")
        worker = able[0] if len(able) == 1 else min(able, key=_owed)
        entry = _Pending(next(self._ids), part, index, worker, request, key, deadline, priority)
        worker.pending[entry.id] = entry
        fields = {
            "id": entry.id,
            "model": key,
            "signature": part.signature,
            "length": part.length,
            "deadline": deadline,
            "priority": priority,
            "routed": routed,
        }
        worker.link.send(INFER, fields, [part.tensors])
        return entry

    def _take_back(self, pending: Iterable[_Pending]) -> None:
        waiting: dict[Link, list[int]] = {}
        asking: dict[Link, list[int]] = {}
        for entry in pending:
            if entry.worker.pending.pop(entry.id, None) is not None:
                link = entry.worker.link
                waiting.setdefault(link, []).append(entry.id)
                if entry.id in entry.worker.overdue:
                    asking.setdefault(link, []).append(entry.id)
        for link, ids in waiting.items():
            link.send(CANCEL, {"ids": ids, "begun": asking.get(link, [])})

    def _receive(self, link: Link, messages: list[Message]) -> None:
        worker = self._workers.setdefault(link, _Worker(link))
        for message in messages:
            if message.kind == CATALOG:
                # In order, since whoever waits for a lock gets it in order.
                task = asyncio.ensure_future(self._learn(worker, message.fields))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif message.kind == REPLY:
                self._answered(worker, message)

    def _answered(self, worker: _Worker, message: Message) -> None:
        for found, tensors in zip(message.fields["answers"], message.tensors, strict=True):
            entry = worker.pending.pop(found["id"], None)
            if entry is not None:
                _settle(entry, found, tensors)
            elif late := worker.overdue.pop(found["id"], None):
                self._judge(late, found)

    def _judge(self, late: _Overdue, found: dict[str, Any]) -> None:
        """A worker tells what became of a part that is overdue."""
        if found.get("infer", 0.0) >= late.least:
            self._on_overdue(late.model, found["share"])

    async def _learn(self, worker: _Worker, fields: dict[str, Any]) -> None:
        """A worker tells what it holds now. To prepare for a new model takes long."""
        infos = [ModelInfo(**model) for model in fields["models"]]
        async with self._learning:
            served = await asyncio.to_thread(self._prepare, infos)
            if self._workers.get(worker.link) is not worker:
                return
            worker.offered = frozenset(model.info.key for model in served)
            worker.serial = fields["serial"]
            worker.models |= worker.offered
            others = {key for other in self._workers.values() for key in other.offered}
            served += [
                model
                for info in self._catalog.infos()
                if info.key in others - worker.offered
                and (model := self._catalog.get(info.key)) is not None
            ]
            self._catalog.update(served)
            self._release(worker)
            self._on_change()

    def _prepare(self, infos: list[ModelInfo]) -> list[ServedModel]:
        served = []
        for info in infos:
            known = self._catalog.get(info.key)
            if known is not None and known.info == info:
                served.append(known)
                continue
            try:
                served.append(ServedModel(info, self._preprocessors))
            except TrainyardError as error:
                fields = {"reason": str(error)}
                log.error("a model cannot be used", extra={"fields": fields})  # noqa: TRY400 - says it
        return served

    def _release(self, worker: _Worker) -> None:
        """What has left the catalog is let go of when no request needs it any more."""
        kept = {key for key in worker.models - worker.offered if self._catalog.users(key)}
        worker.models = worker.offered | kept
        if not kept:
            worker.link.send(RELEASED, {"serial": worker.serial})

    def _release_all(self) -> None:
        for worker in self._workers.values():
            if worker.models != worker.offered:
                self._release(worker)

    def _unsent(self, link: Link, message: Message, reason: str) -> None:
        """Whoever waits for a part that cannot be sent is told at once."""
        worker = self._workers.get(link)
        entry = None
        if worker is not None and message.kind == INFER:
            entry = worker.pending.pop(message.fields["id"], None)
        if entry is None:
            log_unsent(link, message, reason)
        else:
            entry.request.fail(_unsendable(reason))

    def _lost(self, link: Link) -> None:
        worker = self._workers.pop(link, None)
        if worker is None:
            return
        _fail(worker.pending.values(), _worker_lost)
        worker.pending.clear()
        self._on_change()


def _await_verdict(pending: Iterable[_Pending], least: float) -> None:
    """Of those that are taken back the worker is to say whether they ran so many seconds."""
    for entry in pending:
        if entry.id in entry.worker.pending:
            entry.worker.overdue[entry.id] = _Overdue(entry.model, least)


def _growing_delays() -> Iterator[float]:
    """Seconds between two attempts, without end."""
    delay = FIRST_DELAY_SECONDS
    while True:
        yield delay
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)


def _log_not_reached(error: OSError, **more: float) -> None:
    fields = {"reason": str(error), **more}
    log.warning("a worker cannot be reached", extra={"fields": fields})


def _overloaded(wait: float, *, late: bool) -> ServingError:
    """`wait`: seconds until what goes before it now has run."""
    what = "the deadline would pass before its turn" if late else "the queue is full"
    return UnavailableError(what, code="overloaded", retry_after=max(1, math.ceil(wait)))


def _unsendable(reason: str) -> ServingError:
    return TooLargeError(
        f"the request's tensors cannot be sent to a worker: {reason}",
        code="body_too_large",
        remedy="send less at once",
    )


def _worker_lost() -> ServingError:
    return UnavailableError("the worker died while it had the request", code="worker_lost")


def _owed(worker: _Worker) -> int:
    return len(worker.pending)


def _fail(pending: Iterable[_Pending], reason: Callable[[], ServingError]) -> None:
    """Each gets an error of its own: raising one adds a traceback to it."""
    for entry in pending:
        entry.request.fail(reason())


def _settle(entry: _Pending, found: dict[str, Any], tensors: Tensors) -> None:
    if (share := found.get("share")) is not None:
        seconds, failed = found.get("infer", 0.0), found["status"] != work.OK
        entry.request.runs.append(Run(seconds, found["samples"], found["tokens"], share, failed))
    if found["status"] == work.OK:
        entry.request.answer(entry.index, Answer(tensors, found["queue"], found["infer"]))
    else:
        if found["status"] == work.REJECTED and found["late"] > 0:
            entry.worker.backlog.refused(
                (entry.model, entry.priority),
                samples=len(entry.part.indices),
                done=entry.deadline + found["late"],
                wait=found["wait"],
                now=time.monotonic(),
            )
        entry.request.fail(_error(entry, found))


def _error(entry: _Pending, found: dict[str, Any]) -> ServingError:
    status = found["status"]
    if status == work.REJECTED:
        return _overloaded(found["wait"], late=found["late"] > 0)
    if status == work.REFUSED:
        index = found["index"]
        return RefusedSampleError(
            found["message"],
            field=found["field"],
            index=None if index is None else entry.part.indices[index],
        )
    if status == work.GONE:
        return UnavailableError("this version is being unloaded", code="version_unloaded")
    return ModelFailedError(found["message"], code="model_failed", remedy=found.get("remedy"))
