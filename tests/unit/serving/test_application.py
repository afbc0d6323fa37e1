"""Answers of an API process that needs no worker for them."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256

import httpx
import pytest

from serving.application import Application, Endpoint
from serving.arrivals import Arrivals
from serving.catalog import Catalog
from serving.chooser import Chooser
from serving.dispatch import Dispatcher
from serving.drain import Lifecycle
from serving.guard import ADMIN, PREDICT, ApiKey, Guard
from serving.intake import Intake
from serving.logs import AUDIT
from serving.metrics import MetricsCollector
from serving.routes.open_inference import open_inference_endpoints
from serving.routes.predict import Predictor
from serving.routes.probes import probe_endpoints
from serving.routing.halt import Halt
from serving.routing.shadow import Shadows
from serving.routing.shadow_metrics import ShadowMetrics
from serving.routing.table import RoutingTable
from serving.settings import Settings

KEY = "a-key-that-may-predict"
KEYS = (ApiKey(name="shop", digest=sha256(KEY.encode()).digest(), scopes=frozenset({PREDICT})),)


async def fail(request, exchange):
    raise RuntimeError("a secret detail")


class Server:
    """An application, asked in process."""

    def __init__(self, keys: tuple[ApiKey, ...] = ()) -> None:
        catalog, table = Catalog(), RoutingTable()
        chooser = Chooser(catalog, table)
        self.lifecycle = Lifecycle(expected_workers=1)
        self.headers: dict[str, str] = {}
        self.seen: list[tuple] = []
        dispatcher = Dispatcher(catalog=catalog, on_change=lambda: None)
        metrics = MetricsCollector()
        self.intake = Intake(
            Settings(),
            dispatcher=dispatcher,
            lifecycle=self.lifecycle,
            metrics=metrics,
            arrivals=Arrivals(),
            halt=Halt(),
        )
        self.application = Application(
            [
                *Predictor(
                    Settings(),
                    chooser=chooser,
                    intake=self.intake,
                    shadows=Shadows(table, ShadowMetrics()),
                ).endpoints(),
                *probe_endpoints(self.lifecycle, catalog, table),
                *open_inference_endpoints(self.lifecycle, catalog, table, Arrivals()),
                Endpoint("/fail", "GET", fail),
                Endpoint("/admin/models/{model}/promote", "POST", fail, ADMIN),
                Endpoint("/admin/models/{model}", "GET", fail, ADMIN),
            ],
            lifespan=fail,
            metrics=metrics,
            guard=Guard(keys),
            extra_headers=lambda: self.headers,
            observe=lambda *seen: self.seen.append(seen),
        )

    def ask(self, method: str, path: str, **options) -> httpx.Response:
        async def ask():
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())


@pytest.fixture
def server():
    server = Server()
    yield server
    server.intake.close()


def test_a_server_that_starts_lives_and_answers_503(server):
    response = server.ask("POST", "/predict", json={"text": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "starting")
    assert response.headers["retry-after"] == "1"
    health = server.ask("GET", "/health")
    assert (health.status_code, health.json()) == (503, {"status": "starting", "models": []})
    assert server.ask("GET", "/health/startup").status_code == 503
    for path in ("/health/ready", "/v2/health/ready"):
        response = server.ask("GET", path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert server.ask("GET", "/health/live").status_code == 200


def test_a_server_that_lost_its_worker_is_degraded_and_answers_404_or_503(server):
    server.lifecycle.update(workers=1)
    server.lifecycle.update(workers=0)
    assert server.ask("GET", "/health").json()["status"] == "degraded"
    assert server.ask("GET", "/health/startup").status_code == 200
    assert server.ask("GET", "/health/ready").status_code == 503


def test_an_unexpected_error_is_500_logged_and_not_told(server, caplog):
    with caplog.at_level(logging.ERROR):
        response = server.ask("GET", "/fail", headers={"X-Request-Id": "abc"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert response.json()["id"] == "abc"
    assert "secret" not in response.text
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize(
    ("keys", "headers", "status", "principal"),
    [
        (KEYS, {"X-API-Key": KEY}, 403, "shop"),
        (KEYS, {"X-API-Key": "another"}, 401, ""),
        (KEYS, {}, 401, ""),
        ((), {}, 403, ""),
    ],
)
def test_who_must_not_change_what_answers_is_written_down(caplog, keys, headers, status, principal):
    caplog.set_level(logging.INFO, AUDIT)
    server = Server(keys)
    headers = {**headers, "X-Request-Id": "abc"}
    assert server.ask("GET", "/admin/models/m", headers=headers).status_code == status
    path = "/admin/models/m/promote"
    answer = server.ask("POST", path, headers=headers)
    server.intake.close()
    assert answer.status_code == status
    [record] = [record for record in caplog.records if record.name == AUDIT]
    assert record.fields == {
        "principal": principal,
        "id": "abc",
        "path": path,
        "status": status,
        "reason": answer.json()["error"]["message"],
    }


def test_extra_headers_go_out_with_every_answer(server):
    server.headers = {"Connection": "close"}
    for path in ("/health/live", "/nope", "/fail"):
        assert server.ask("GET", path).headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/%ff%fe", "/" + "x" * 5000, "/%f0%9f%98%80", "/%00"])
def test_a_strange_path_is_404_and_echoed_in_short(server, path):
    response = server.ask("GET", path)
    assert response.status_code == 404
    assert len(response.json()["error"]["message"]) < 150
