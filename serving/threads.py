"""Threads: what takes long is done beside the event loop, for as long as somebody waits for it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from serving.departure import ClientGoneError
from serving.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.departure import Departure

T = TypeVar("T")


class Threads:
    """A few of one API process; what waits for one of them is forgotten once nobody wants it."""

    def __init__(self, count: int, *, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._errands: set[_Errand[Any]] = set()

    async def run(
        self,
        function: Callable[[], T],
        *,
        deadline: float,
        timeout_ms: float,
        departure: Departure | None = None,
    ) -> T:
        """What the function returns. `deadline` is on time.monotonic's clock, and is told as
        `timeout_ms`; `departure`: of who asks, if that can go.

        Raises DeadlineExceededError when it is time and ClientGoneError when nobody is left to
        answer: at once where the function has begun, which cannot be stopped, and where it has not,
        it never does.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(timeout_ms)
        loop = asyncio.get_running_loop()
        errand = _Errand(function)
        errand.outcome = loop.run_in_executor(self._pool, errand)
        late = partial(DeadlineExceededError, timeout_ms)
        timer = loop.call_later(left, errand.give_up, late)
        if departure is not None:
            departure.watch(partial(errand.give_up, ClientGoneError))
        self._errands.add(errand)
        try:
            return await errand.outcome
        except asyncio.CancelledError:
            if errand.reason is None:
                raise
            raise errand.reason() from None
        finally:
            self._errands.discard(errand)
            timer.cancel()
            if departure is not None:
                departure.forget()
            # It has the error, whose traceback has the errand: a circle, and the body is in it.
            del errand.outcome

    def fail_all(self, reason: Callable[[], Exception]) -> None:
        """Nobody is to wait any longer, for that reason."""
        for errand in list(self._errands):
            errand.give_up(reason)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Errand(Generic[T]):
    """A function that somebody waits for, until there is a reason not to."""

    __slots__ = ("_function", "outcome", "reason")

    outcome: asyncio.Future[T]

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self.reason: Callable[[], Exception] | None = None

    def __call__(self) -> T:
        """Called by the thread."""
        function = self._function
        if function is None:
            raise AssertionError("it was given up before it began")
        return function()

    def give_up(self, reason: Callable[[], Exception]) -> None:
        """Called on the event loop."""
        if self.outcome.cancel():
            self.reason = reason
            self._function = None  # the pool keeps what it has not begun, and with it the body
