"""Dispatcher: an API process's way to the workers, and back for the answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from functools import partial
from logging import DEBUG, ERROR
from typing import TYPE_CHECKING, Any

from bundle.errors import TrainyardError
from serving.awaited import Awaited
from serving.deadlines import Deadlines
from serving.debtor import Debt, Debtor, await_verdict, overloaded, worker_lost
from serving.errors import DeadlineExceededError, ServingError, UnavailableError
from serving.preprocessors import Preprocessors
from serving.reach import reach
from serving.served_model import ModelInfo, ServedModel
from serving.transport import Link, connect, log_unsent
from serving.wire import CANCEL, CATALOG, INFER, RELEASED, REPLY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from serving.awaited import Answer
    from serving.catalog import Catalog
    from serving.debtor import Overdue
    from serving.departure import Departure
    from serving.run import Run
    from serving.served_model import ModelKey, Part
    from serving.wire import Message

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.1
"""After which a connection that broke is made anew; later where nothing came over the last."""
PREPARE_SECONDS = 1.0
"""After which it is tried again to prepare for a model; later each time."""
LONGEST_WAIT_SECONDS = 60.0
"""Between two such attempts."""
MOST_BUFFERED_BYTES = 2**29
"""That may wait for a worker which does not read."""
STANDSTILL_BYTES = 2**20
"""That a worker has not read, in steps of which it is told from those that do read."""
LEAST_OF_LIMIT = 0.5
"""Of the server's limit a version must have run so much to be to blame for a 504: who sent the body
slowly, or waited long, leaves it less."""


class Dispatcher:
    """Sends parts to the worker that reads and owes least, and wakes whoever waits for them.

    All of it runs on one event loop.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        on_change: Callable[[], None],
        on_overdue: Callable[[ModelKey, float], None] = lambda _, __: None,
        preprocessors: Preprocessors | None = None,
        most_buffered: float = MOST_BUFFERED_BYTES,
    ) -> None:
        """`on_overdue` is told of parts that the version ran until the server's own limit, with
        their share of the batch. `preprocessors`: those of the process. `most_buffered`: bytes
        above which a worker that stands still is sent nothing more; they would stay in this
        process's memory, whoever waited for the answers.
        """
        self._most_buffered = most_buffered
        self._catalog = catalog
        self._on_change = on_change
        self._on_overdue = on_overdue
        self._workers: dict[Link, Debtor] = {}
        self._ids = itertools.count()
        self._deadlines = Deadlines()
        self._preprocessors = preprocessors or Preprocessors()
        self._closed: Callable[[], ServingError] | None = None
        self._learning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hung_up = False
        catalog.on_unused = self._release_all

    @property
    def workers(self) -> int:
        """Number of workers that are connected and have told their models."""
        return sum(1 for worker in self._workers.values() if worker.models)

    async def connect(self, address: Path) -> None:
        """Use the worker that listens there, for as long as it lives: a connection that breaks
        before is made anew.
        """
        if not await self._reach(address, again=RECONNECT_SECONDS):
            fields = {"worker": address.stem}
            log.warning("nobody listens where a worker should", extra={"fields": fields})

    async def _reach(self, address: Path, *, again: float) -> bool:
        """Whether somebody listens there. `again`: seconds until the next attempt, should nothing
        come over the connection.
        """
        link = await reach(
            partial(
                connect,
                address,
                on_messages=self._receive,
                on_lost=partial(self._lost, address, again),
                on_unsent=self._unsent,
            )
        )
        if link is not None and self._hung_up:
            link.close()
        elif link is not None and link.open:
            self._workers.setdefault(link, Debtor(link))
        return link is not None

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
        request = Awaited(len(parts), [] if runs is None else runs, timeout_ms)
        pending: list[Debt] = []
        step = self._deadlines.add(request, deadline)
        try:
            if departure is not None:
                departure.watch(request.abandon)
            for index, part in enumerate(parts if not request.outcome.done() else ()):
                pending.append(
                    self._send(
                        served.key, part, index, request,
                        deadline=deadline, priority=priority, routed=routed,
                    )
                )  # fmt: skip
            return await request.outcome
        except DeadlineExceededError:
            if routed and own_limit:
                await_verdict(pending, timeout_ms / 1000 * LEAST_OF_LIMIT)
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
            raise overloaded(least, late=True)

    def fail_all(self, reason: Callable[[], ServingError]) -> None:
        """Answer everything that waits, or is still to come, with an error."""
        self._closed = reason
        for worker in self._workers.values():
            worker.fail(reason)

    def close(self) -> None:
        """Hang up."""
        self._hung_up = True
        for task in self._tasks:
            task.cancel()
        for worker in list(self._workers.values()):
            worker.link.close()

    def _able(self, model: ModelKey) -> list[Debtor]:
        return [worker for worker in self._workers.values() if model in worker.models]

    def _send(
        self,
        key: ModelKey,
        part: Part,
        index: int,
        request: Awaited,
        *,
        deadline: float,
        priority: int,
        routed: bool,
    ) -> Debt:
        """The part is the business of the worker that reads and owes least."""
        if self._closed is not None:
            raise self._closed()
        able = self._able(key)
        if not able:
            raise UnavailableError("no worker is ready", code="not_ready")
        able = [worker for worker in able if worker.link.buffered <= self._most_buffered]
        if not able:
            raise UnavailableError("no worker reads what it is sent", code="overloaded")
        worker = able[0] if len(able) == 1 else min(able, key=_owed)
        number = next(self._ids)
        debt = Debt(number, part, index, worker, request, key, deadline, priority)
        worker.pending[number] = debt
        worker.link.send(INFER, debt.fields(routed=routed), (part.tensors,))
        return debt

    def _take_back(self, pending: Iterable[Debt]) -> None:
        waiting: dict[Link, list[int]] = {}
        asking: dict[Link, list[int]] = {}
        for debt in pending:
            if debt.worker.pending.pop(debt.id, None) is not None:
                link = debt.worker.link
                waiting.setdefault(link, []).append(debt.id)
                if debt.id in debt.worker.overdue:
                    asking.setdefault(link, []).append(debt.id)
        for link, ids in waiting.items():
            link.send(CANCEL, {"ids": ids, "begun": asking.get(link, [])})

    def _receive(self, link: Link, messages: list[Message]) -> None:
        worker = self._workers.setdefault(link, Debtor(link))
        for message in messages:
            if message.kind == CATALOG:
                worker.heard = True
                # In order, since whoever waits for a lock gets it in order.
                self._begin(self._learn(worker, message.fields))
            elif message.kind == REPLY:
                self._answered(worker, message)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answered(self, worker: Debtor, message: Message) -> None:
        for found, tensors in zip(message.fields["answers"], message.tensors, strict=True):
            debt = worker.pending.pop(found["id"], None)
            if debt is not None:
                debt.settle(found, tensors)
            elif late := worker.overdue.pop(found["id"], None):
                self._judge(late, found)

    def _judge(self, late: Overdue, found: dict[str, Any]) -> None:
        """A worker tells what became of a part that is overdue."""
        if found.get("infer", 0.0) >= late.least:
            self._on_overdue(late.model, found["share"])

    async def _learn(self, worker: Debtor, fields: dict[str, Any], *, wait: float = 0.0) -> None:
        """A worker tells what it holds now. To prepare for a new model takes long. What keeps this
        process from it may pass, as where no descriptor is left: it is tried again.
        """
        await asyncio.sleep(wait)
        infos = [ModelInfo(**model) for model in fields["models"]]
        async with self._learning:
            served = await asyncio.to_thread(self._prepare, infos, DEBUG if wait else ERROR)
            past = fields["serial"] < worker.serial
            if past or self._workers.get(worker.link) is not worker:
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
        if len(worker.offered) < len(infos):
            wait = min(2 * wait or PREPARE_SECONDS, LONGEST_WAIT_SECONDS)
            self._begin(self._learn(worker, fields, wait=wait))

    def _prepare(self, infos: list[ModelInfo], level: int) -> list[ServedModel]:
        """Those that can be used; what is wrong with the others is told on that level."""
        served = []
        for info in infos:
            known = self._catalog.get(info.key)
            if known is not None and known.info == info:
                served.append(known)
                continue
            try:
                served.append(ServedModel(info, self._preprocessors))
            except Exception as error:  # noqa: BLE001 - the others can be used
                reason = str(error) if isinstance(error, TrainyardError) else repr(error)
                fields = {"model": info.name, "version": info.version, "reason": reason}
                log.log(level, "a model cannot be used", extra={"fields": fields})
        return served

    def _release(self, worker: Debtor) -> None:
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
        debt = None
        if worker is not None and message.kind == INFER:
            debt = worker.pending.pop(message.fields["id"], None)
        if debt is None:
            log_unsent(link, message, reason)
        else:
            debt.unsent(reason)

    def _lost(self, address: Path, again: float, link: Link) -> None:
        worker = self._workers.pop(link, None)
        if not self._hung_up:
            heard = worker is not None and worker.heard
            self._begin(self._reconnect(address, RECONNECT_SECONDS if heard else again))
        if worker is None:
            return
        worker.fail(worker_lost)
        worker.pending.clear()
        self._on_change()

    async def _reconnect(self, address: Path, wait: float) -> None:
        """Unless it is the worker that is gone."""
        await asyncio.sleep(wait)
        if await self._reach(address, again=min(2 * wait, LONGEST_WAIT_SECONDS)):
            fields = {"worker": address.stem}
            log.warning(
                "a connection to a worker broke, and is made anew", extra={"fields": fields}
            )


def _owed(worker: Debtor) -> tuple[int, int]:
    """First what it has not read: one that stands still owes less and less, as nobody waits for it
    any more.
    """
    return worker.link.buffered // STANDSTILL_BYTES, len(worker.pending)
