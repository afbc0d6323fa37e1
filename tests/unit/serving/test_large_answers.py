"""What takes long to be written is written beside the event loop, however small the request."""

from __future__ import annotations

import asyncio
import threading
from collections import UserDict

import httpx
import numpy as np
import pytest

from serving.application import Application
from serving.arrivals import Arrivals
from serving.awaited import Answer
from serving.catalog import Catalog
from serving.chooser import Chooser
from serving.drain import Lifecycle
from serving.guard import Guard
from serving.intake import SMALL_BYTES, Intake
from serving.metrics import MetricsCollector
from serving.routes.infer import InferRoutes
from serving.routes.predict import SMALL_OUTPUT_BYTES, Predictor
from serving.routes.small_answer import are_small
from serving.routing.halt import Halt
from serving.routing.shadow import Shadows
from serving.routing.shadow_metrics import ShadowMetrics
from serving.routing.table import RoutingTable
from serving.served_model import ServedModel
from serving.settings import Settings
from tests.tiny_info import tensor_info

INFO = tensor_info("wide", width=-1)
INFER = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}


class Outputs(UserDict):
    """Remembers the threads that look into it, but for the sizes of what there is."""

    threads: set[str]

    def values(self):
        return self.data.values()

    def __getitem__(self, name):
        self.threads.add(threading.current_thread().name)
        return super().__getitem__(name)


class Workers:
    """Answer everything with so many numbers."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def check(self, served, **_) -> None:
        """They always have room."""

    async def run(self, served, parts, **_):
        return [Answer(self.outputs, 0.0, 0.0)]


def ask(path: str, body: dict, numbers: int) -> tuple[httpx.Response, set[str]]:
    """The answer, and the threads that wrote it."""
    outputs = Outputs(y=np.ones((1, numbers), np.float32))
    outputs.threads = set()
    catalog, table, lifecycle = Catalog(), RoutingTable(), Lifecycle(expected_workers=1)
    catalog.update([ServedModel(INFO)])
    lifecycle.update(workers=1)
    metrics = MetricsCollector()
    intake = Intake(
        Settings(),
        dispatcher=Workers(outputs),
        lifecycle=lifecycle,
        metrics=metrics,
        arrivals=Arrivals(),
        halt=Halt(),
    )
    ways = {
        "chooser": Chooser(catalog, table),
        "intake": intake,
        "shadows": Shadows(table, ShadowMetrics()),
    }
    application = Application(
        [*Predictor(Settings(), **ways).endpoints(), *InferRoutes(Settings(), **ways).endpoints()],
        lifespan=None,
        metrics=metrics,
        guard=Guard(),
        extra_headers=dict,
        observe=lambda *_: None,
    )

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return await client.post(path, json=body)

    response = asyncio.run(post())
    intake.close()
    return response, outputs.threads


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        ("/predict", {"inputs": {"x": [1]}}, SMALL_OUTPUT_BYTES),
        ("/v2/models/wide/infer", INFER, SMALL_BYTES),
    ],
)
def test_the_size_of_the_answer_says_where_it_is_written(path, body, most):
    small, threads = ask(path, body, most // 4)
    assert (small.status_code, threads) == (200, {threading.current_thread().name})
    assert small.headers["content-type"] == "application/json"
    assert (small.headers["x-model-version"], small.headers["x-variant"]) == ("1", "fp32")
    assert len(small.headers["x-request-id"]) == 32
    large, threads = ask(path, body, most // 4 + 1)
    assert large.status_code == 200
    assert {name.partition("_")[0] for name in threads} == {"decode"}
    assert len(large.content) > len(small.content)


def test_strings_are_counted_by_what_they_say():
    text = np.array(["x" * 100] * 2, dtype=object)
    answers = [Answer({"text": text}, 0.0, 0.0)] * 2
    assert are_small(answers, most=500)
    assert not are_small(answers, most=400)
    assert not are_small([Answer({"text": text}, 0.0, 0.0)], most=10)
