"""Awaited: a request whose parts the workers have, until all are answered or one is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, cast

from serving.departure import ClientGoneError
from serving.errors import DeadlineExceededError

if TYPE_CHECKING:
    from serving.run import Run
    from serving.wire import Tensors


class Answer(NamedTuple):
    """What a worker made of one part of a request."""

    outputs: Tensors
    queue_seconds: float
    infer_seconds: float


class Awaited:
    """A request that waits for the answers to its parts, or for the first error."""

    __slots__ = ("_answers", "_left", "_timeout_ms", "outcome", "runs")

    def __init__(self, parts: int, runs: list[Run], timeout_ms: float) -> None:
        self.runs = runs
        self._timeout_ms = timeout_ms
        self._answers: list[Answer | None] = [None] * parts
        self._left = parts
        self.outcome: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()

    def answer(self, index: int, found: Answer) -> None:
        """The part with that index is answered."""
        self._answers[index] = found
        self._left -= 1
        if not self._left and not self.outcome.done():
            self.outcome.set_result(cast("list[Answer]", self._answers))

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
