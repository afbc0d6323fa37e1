"""Debtor: a worker as an API process sees it, by what it may be asked and what it owes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serving import job
from serving.awaited import Answer
from serving.backlog import Backlog
from serving.errors import (
    ModelFailedError,
    RefusedSampleError,
    ServingError,
    TooLargeError,
    UnavailableError,
)
from serving.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from serving.awaited import Awaited
    from serving.served_model import ModelKey, Part
    from serving.transport import Link
    from serving.wire import Tensors


@dataclass(slots=True)
class Debtor:
    """A connected worker."""

    link: Link
    models: frozenset[ModelKey] = frozenset()
    """What it may be asked."""
    offered: frozenset[ModelKey] = frozenset()
    """What it goes on holding; the rest of `models` it keeps for requests that are on their way."""
    serial: int = 0
    """Of the catalog that was last prepared for."""
    heard: bool = False
    """Whether it has told its models."""
    pending: dict[int, Debt] = field(default_factory=dict)
    overdue: dict[int, Overdue] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)

    def fail(self, reason: Callable[[], ServingError]) -> None:
        """Whoever waits for it gets an error of their own: raising one adds a traceback to it."""
        for debt in self.pending.values():
            debt.request.fail(reason())


@dataclass(frozen=True, slots=True)
class Overdue:
    """A part of which nobody waits for the answer any more, until the worker says what it did."""

    model: ModelKey
    least: float
    """Seconds that it must have run to be the version's fault."""


@dataclass(slots=True)
class Debt:
    """A part that waits for its answer."""

    id: int
    part: Part
    index: int
    """Its place in the request."""
    worker: Debtor
    request: Awaited
    model: ModelKey
    deadline: float
    priority: int

    def fields(self, *, routed: bool) -> dict[str, Any]:
        """What the worker is told of the part, but for its tensors. `routed`: whether any version
        might have been asked.
        """
        return {
            "id": self.id,
            "model": self.model,
            "signature": self.part.signature,
            "length": self.part.length,
            "alone": self.part.alone,
            "deadline": self.deadline,
            "priority": self.priority,
            "routed": routed,
        }

    def settle(self, found: dict[str, Any], tensors: Tensors) -> None:
        """The worker's answer, which may be an error."""
        status, share = found["status"], found.get("share")
        if share is not None:
            seconds, failed = found.get("infer", 0.0), status != job.OK
            samples, tokens, shared = found["samples"], found["tokens"], found["shared"]
            self.request.runs.append(Run(seconds, samples, tokens, share, failed, shared))
        if status == job.OK:
            self.request.answer(self.index, Answer(tensors, found["queue"], found["infer"]))
        else:
            if status == job.REJECTED and found["late"] > 0:
                self.worker.backlog.refused(
                    (self.model, self.priority),
                    samples=len(self.part.indices),
                    done=self.deadline + found["late"],
                    wait=found["wait"],
                    now=time.monotonic(),
                )
            self.request.fail(self._error(found))

    def _error(self, found: dict[str, Any]) -> ServingError:
        status = found["status"]
        if status == job.REJECTED:
            return overloaded(found["wait"], late=found["late"] > 0)
        if status == job.REFUSED:
            index = found["index"]
            return RefusedSampleError(
                found["message"],
                field=found["field"],
                index=None if index is None else self.part.indices[index],
            )
        if status == job.GONE:
            return UnavailableError("this version is being unloaded", code="version_unloaded")
        return ModelFailedError(found["message"], code="model_failed", remedy=found.get("remedy"))

    def unsent(self, reason: str) -> None:
        """The worker never hears of it."""
        self.request.fail(
            TooLargeError(
                f"the request's tensors cannot be sent to a worker: {reason}",
                code="body_too_large",
                remedy="send less at once",
            )
        )


def await_verdict(debts: Iterable[Debt], least: float) -> None:
    """Of those that are taken back the worker is to say whether they ran so many seconds."""
    for debt in debts:
        if debt.id in debt.worker.pending:
            debt.worker.overdue[debt.id] = Overdue(debt.model, least)


def overloaded(wait: float, *, late: bool) -> ServingError:
    """`wait`: seconds until what goes before it now has run."""
    what = "the deadline would pass before its turn" if late else "the queue is full"
    return UnavailableError(what, code="overloaded", retry_after=max(1, math.ceil(wait)))


def worker_lost() -> ServingError:
    """To whom a worker owed an answer that has died, or cannot be heard."""
    return UnavailableError(
        "the worker died, or the connection to it broke, while it had the request",
        code="worker_lost",
    )
