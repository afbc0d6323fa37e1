"""A worker on a clock of its own: the real queue, and what an API process remembers of it."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import serving.work
from serving.backlog import Backlog
from serving.metrics import MetricsCollector
from serving.wire import INFER, Message
from serving.work import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pytest

    from serving.batch import Item
    from serving.streams import Turn


@dataclass(eq=False, slots=True)
class Request:
    """What is asked at `at`, and what became of it."""

    at: float
    timeout: float
    model: str = "m"
    samples: int = 1
    length: int = 1
    priority: int = 1
    answered: float = math.inf
    refused: bool = False

    @property
    def in_time(self) -> bool:
        return self.answered <= self.at + self.timeout

    @property
    def took(self) -> float:
        return self.answered - self.at


class SimulatedWorker:
    """Time passes only while the queue waits, or a batch runs."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, requests: Iterable[Request], **settings: Any
    ) -> None:
        monkeypatch.setattr(serving.work, "time", self)
        settings = {"batch_size": 32, "delay": 0.002, "capacity": 1024} | settings
        self.queue = WorkQueue(metrics=MetricsCollector(), **settings)
        self.queue._changed = self
        self.batches: list[tuple[float, list[Request]]] = []
        """When each began, and who was in it."""
        self._now = 1000.0
        self._began = self._now
        self._asked: list[Request] = []
        self._coming = [(request.at, at, request) for at, request in enumerate(requests)]
        heapq.heapify(self._coming)
        self._running: list[tuple[float, int, float, Turn]] = []
        """When each ends."""
        self._backlog = Backlog()

    def run(self, seconds: Callable[[Sequence[Item], float], float]) -> None:
        """Until nothing waits any more. `seconds`: what a batch takes that begins then and has all
        threads.
        """
        while turn := self.queue.take():
            asked = [self._asked[item.payload.id] for item in turn.batch]
            self.batches.append((self._now - self._began, asked))
            took = seconds(turn.batch, self._now - self._began)
            took *= self.queue.streams if turn.shared else 1
            heapq.heappush(self._running, (self._now + took, len(self.batches), took, turn))

    def monotonic(self) -> float:
        return self._now

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def notify(self, n: int = 1) -> None: ...

    def notify_all(self) -> None: ...

    def wait(self, seconds: float | None = None) -> None:
        """Until somebody comes, a batch has run, or so long."""
        until = math.inf if seconds is None else self._now + seconds
        ends = self._running[0][0] if self._running else math.inf
        if self._coming and self._began + self._coming[0][0] <= min(until, ends):
            self._arrive()
        elif self._running and ends <= until:
            self._end()
        elif until < math.inf:
            self._now = max(until, math.nextafter(self._now, math.inf))
        else:
            self.queue.close()

    def _end(self) -> None:
        self._now, _, took, turn = heapq.heappop(self._running)
        for item in turn.batch:
            self._asked[item.payload.id].answered = self._now - self._began
        self.queue.done(turn, took)

    def _arrive(self) -> None:
        request = heapq.heappop(self._coming)[2]
        self._now = max(self._now, self._began + request.at)
        deadline = self._began + request.at + request.timeout
        turn = ((request.model, "1"), request.priority)
        if (
            self._backlog.wait(turn, samples=request.samples, deadline=deadline, now=self._now)
            is not None
        ):
            request.refused = True
            return
        fields = {
            "id": len(self._asked), "model": turn[0], "signature": "s", "length": request.length,
            "deadline": deadline, "priority": request.priority, "routed": False,
        }  # fmt: skip
        self._asked.append(request)
        self.queue.receive(self, Message(INFER, fields, [{"x": np.empty(request.samples)}]))

    def send(self, _kind: str, fields: dict, _tensors: list) -> None:
        """What the queue answers by itself: refusals."""
        for told in fields["answers"]:
            request = self._asked[told["id"]]
            request.refused = True
            if told["late"] > 0:
                self._backlog.refused(
                    ((request.model, "1"), request.priority),
                    samples=request.samples,
                    done=self._began + request.at + request.timeout + told["late"],
                    wait=told["wait"],
                    now=self._now,
                )


def arrivals(rate: float, *, seconds: float, seed: int = 0) -> list[float]:
    """Of independent clients, so many a second on average."""
    draw = random.Random(seed)
    found, at = [], 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        found.append(at)
    return found
