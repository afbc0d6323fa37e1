"""The threads of a worker's streams: how many there are, that they run at once, and their end."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from serving.loop import EngineLoop
from serving.metrics import MetricsCollector
from serving.settings import Settings
from serving.wire import INFER, Message
from serving.work import WorkQueue
from serving.worker import WorkerStart


class Gathering:
    """Stands in for a model whose shared batches end only when so many run."""

    name, version, variant, key = "m", "1", "fp32", ("m", "1")

    def __init__(self, together: int) -> None:
        self._barrier = threading.Barrier(together)

    def run(self, parts, *, shared=False):
        if shared:
            self._barrier.wait(30)
        return [{"y": part["x"]} for part in parts]


class Holder:
    """What a loop asks of the LitAPI."""

    def __init__(self, model: Gathering) -> None:
        self.models, self.metrics = {model.key: model}, MetricsCollector()

    def catalog(self):
        return {}

    def begin(self, port, queue): ...


class Port:
    """What a loop asks of the port: asks for three, and for two more while the first runs."""

    def __init__(self, queue) -> None:
        self._queue = queue
        self.told: dict[int, bool] = {}
        self.closed = False

    def start(self, receiver, *, catalog):
        self._ask(0)

    def reply(self, replies):
        for answers in replies.values():
            self.told |= {fields["id"]: fields["shared"] for fields, _ in answers}
        if len(self.told) == 3:
            self._queue.close()

    def close(self):
        self.closed = True

    def send(self, kind, fields, tensors=()): ...

    def _ask(self, *numbers):
        fields = {
            "model": ["m", "1"], "signature": "s", "priority": 1, "length": 1, "routed": True,
            "deadline": math.inf,
        }  # fmt: skip
        tensors = {"x": np.zeros((1, 2), np.float32)}
        messages = [Message(INFER, fields | {"id": number}, [tensors]) for number in numbers]
        self._queue.receive(self, *messages)
        self._queue.rouse()


class First(Gathering):
    """Whose first batch makes two others wait."""

    def __init__(self, port: Port) -> None:
        super().__init__(2)
        self._port = port

    def run(self, parts, *, shared=False):
        if not shared:
            self._port._ask(1, 2)
        return super().run(parts, shared=shared)


def test_a_loop_runs_batches_at_once_and_ends_all_its_threads():
    queue = WorkQueue(batch_size=4, delay=0.0, capacity=64, metrics=MetricsCollector(), streams=2)
    port = Port(queue)
    with pytest.raises(SystemExit):
        EngineLoop().run(Holder(First(port)), "cpu", 0, queue, port, {}, None)
    assert port.told == {0: False, 1: True, 2: True}
    assert port.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream-")]


@pytest.mark.parametrize(
    ("options", "shadow", "streams"),
    [
        ({"threads": 2}, False, 2),
        ({"threads": 2}, True, 1),
        ({"threads": 2, "streams": 1}, False, 1),
        ({"threads": 2, "streams": 9}, False, 2),
        ({"threads": 8}, False, 1),
        ({"threads": 8, "streams": 3}, False, 3),
    ],
)
def test_each_stream_has_a_thread(options, shadow, streams):
    api = SimpleNamespace(settings=Settings(**options))
    start = WorkerStart(
        api, "cpu", 0, Path("w"), None, sources=(), pinned=frozenset(), shadow=shadow
    )
    assert start.streams == streams
