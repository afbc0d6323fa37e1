"""Intake: how a request gets in and its parts get to the workers, whatever protocol it speaks."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from serving.admission import Admission
from serving.codec.body import read_body, too_large
from serving.codec.compression import content_encoding, inflate
from serving.errors import UnavailableError
from serving.held import Held
from serving.job import REJECTED
from serving.room import Room
from serving.scope import WHOLE
from serving.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request

    from serving.arrivals import Arrivals
    from serving.awaited import Answer
    from serving.dispatch import Dispatcher
    from serving.drain import Lifecycle
    from serving.errors import ServingError
    from serving.exchange import Exchange
    from serving.metrics import MetricsCollector
    from serving.routing.halt import Halt
    from serving.served_model import Part, ServedModel
    from serving.settings import Settings

T = TypeVar("T")

SMALL_BYTES = 16 * 1024
"""Bodies up to this are parsed, and answers in tensors written, on the event loop: a thread would
take longer to be woken.
"""
DECODE_THREADS = 4
PARSE_THREADS = 2
_SMALLER = "send less at once, or raise --max-body-bytes"
INFLATIONS = 2
"""Bodies that are inflated at once: each may take the largest body's memory."""


class Intake:
    """Bounds what is held: requests in number, bodies in bytes, one and all, and in time."""

    def __init__(
        self,
        settings: Settings,
        *,
        dispatcher: Dispatcher,
        lifecycle: Lifecycle,
        metrics: MetricsCollector,
        arrivals: Arrivals,
        halt: Halt,
    ) -> None:
        """`halt`: of the shadows, while a request is with the workers."""
        self._settings = settings
        self._timeout_ms = settings.timeout_ms
        self._arrivals = arrivals
        self._halt = halt
        self._dispatcher = dispatcher
        self._room = Room(settings.queue_size, lifecycle)
        self._held = Held(int(settings.max_held_mb * 2**20))
        self._metrics = metrics
        self._decoding = Threads(DECODE_THREADS, name="decode")
        self._parsing = Threads(PARSE_THREADS, name="parse")
        self._inflating = Threads(INFLATIONS, name="inflate")
        self._threads = (self._decoding, self._parsing, self._inflating)

    def fail_all(self, reason: Callable[[], ServingError]) -> None:
        """Answer everything that waits for a thread with an error."""
        for threads in self._threads:
            threads.fail_all(reason)

    def close(self) -> None:
        """Let the threads go."""
        for threads in self._threads:
            threads.close()

    def admit(self, exchange: Exchange) -> Admission:
        """The context in which a request is read and answered."""
        return Admission(exchange, self._room, self._held)

    async def body(self, request: Request, exchange: Exchange) -> bytes:
        """All of the body, inflated; it counts as held for as long as the request is admitted.
        Raises a ServingError or ClientDisconnect.
        """
        maximum = self._settings.max_body_bytes
        encoding = content_encoding(exchange.given)
        body: bytes | None = request.scope.get(WHOLE)
        if body is None:
            reading = read_body(
                exchange.given,
                request.receive,
                maximum=maximum,
                seconds=self._timeout_ms / 1000,
                remedy=_SMALLER,
                take=partial(self._hold, exchange),
            )
            body = await self._arrivals.read(reading)
        elif len(body) > maximum:
            raise too_large(maximum, _SMALLER)
        else:
            self._hold(exchange, len(body))
        if not encoding:
            return body
        function = partial(inflate, body, encoding, maximum=maximum)
        content = await self._run(self._inflating, function, exchange, timeout_ms=None)
        self._hold(exchange, len(content) - len(body))
        return content

    def _hold(self, exchange: Exchange, size: int) -> None:
        self._held.add(size)
        exchange.held += size

    def parsed(self, parse: Callable[[], T], exchange: Exchange) -> Awaitable[T]:
        """A large body is read beside the event loop. It tells the request's own limit, so it waits
        for other bodies, but for nobody's pictures. Raises as `beside` does.
        """
        return self._run(self._parsing, parse, exchange, timeout_ms=None)

    def beside(
        self, function: Callable[[], T], exchange: Exchange, *, timeout_ms: float | None
    ) -> Awaitable[T]:
        """What takes long is done beside the event loop, where it may take until the request's
        limit and the departure of its client. Raises DeadlineExceededError or ClientGoneError.
        """
        return self._run(self._decoding, function, exchange, timeout_ms=timeout_ms)

    async def _run(
        self,
        threads: Threads,
        function: Callable[[], T],
        exchange: Exchange,
        *,
        timeout_ms: float | None,
    ) -> T:
        limit_ms = self._limit_ms(timeout_ms)
        return await threads.run(
            function,
            deadline=exchange.started + limit_ms / 1000,
            timeout_ms=limit_ms,
            departure=exchange.departure,
        )

    def check(
        self,
        exchange: Exchange,
        served: ServedModel,
        *,
        samples: int,
        timeout_ms: float | None,
        priority: int,
    ) -> None:
        """Raises UnavailableError if the workers would turn the request away."""
        first = min(samples, self._settings.batch_size)  # the rest waits behind these
        deadline = exchange.started + self._limit_ms(timeout_ms) / 1000
        try:
            self._dispatcher.check(served, samples=first, deadline=deadline, priority=priority)
        except UnavailableError:
            self._metrics.dropped(REJECTED, samples)
            raise

    def _limit_ms(self, timeout_ms: float | None) -> float:
        """A request's own can only shorten the server's."""
        return self._timeout_ms if timeout_ms is None else min(self._timeout_ms, timeout_ms)

    async def infer(
        self,
        exchange: Exchange,
        served: ServedModel,
        parts: Sequence[Part],
        *,
        timeout_ms: float | None,
        priority: int,
    ) -> list[Answer]:
        """The workers' answers to the parts, in order; the phases so far are recorded.

        Raises a ServingError.
        """
        limit_ms = self._limit_ms(timeout_ms)
        sent = exchange.phase("decode", exchange.started)
        flying = self._metrics.in_flight(exchange.record)
        flying.inc(1)
        self._halt.begin()
        try:
            answers = await self._dispatcher.run(
                served,
                parts,
                deadline=exchange.started + limit_ms / 1000,
                timeout_ms=limit_ms,
                priority=priority,
                routed=exchange.routed,
                departure=exchange.departure,
                runs=exchange.runs,
                own_limit=limit_ms == self._timeout_ms,
            )
        finally:
            self._halt.end()
            flying.inc(-1)
        infer = max([answer.infer_seconds for answer in answers])
        exchange.record.phases["infer"] = infer
        exchange.record.phases["queue"] = max(0.0, time.monotonic() - sent - infer)
        return answers
