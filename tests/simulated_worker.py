"""A worker on a clock of its own: the real queue, and what an API process remembers of it."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        self, monkeypatch: pytest.MonkeyPatch, requests: Iterable[Request], **settings: float
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
        self._backlog = Backlog()

    def run(self, seconds: Callable[[Sequence[Item], float], float]) -> None:
        """Until nothing waits any more. `seconds`: what a batch takes that begins then."""
        while batch := self.queue.take():
            begun = self._now
            asked = [self._asked[item.payload.id] for item in batch]
            self.batches.append((begun - self._began, asked))
            took = seconds(batch, begun - self._began)
            self._pass(until=begun + took)
            for request in asked:
                request.answered = self._now - self._began
            self.queue.done(batch, took)

    def monotonic(self) -> float:
        return self._now

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def notify(self) -> None: ...

    def wait(self, seconds: float | None) -> None:
        """Until somebody comes, or so long."""
        until = math.inf if seconds is None else self._now + seconds
        if self._coming and self._began + self._coming[0][0] <= until:
            self._arrive()
        elif until < math.inf:
            self._now = max(until, math.nextafter(self._now, math.inf))
        else:
            self.queue.close()

    def _pass(self, *, until: float) -> None:
        while self._coming and self._began + self._coming[0][0] <= until:
            self._arrive()
        self._now = until

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
