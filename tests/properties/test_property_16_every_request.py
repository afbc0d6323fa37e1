"""Property 16: every request is counted and timed, whatever became of it, in whichever process."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.followed_model import events
from tests.running_server import RunningServer, eventually, running_server

GOOD = {"inputs": {"x": [1, 2, 3, 4]}, "model": "double"}
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
V2 = "/v2/models/double"
REQUESTS = [
    ("POST", "/predict", {"json": GOOD}),
    ("POST", "/predict", {"json": GOOD | {"inputs": {"x": [1]}}}),
    ("POST", "/predict", {"json": GOOD | {"model": "nope"}}),
    ("POST", "/predict", {"json": GOOD | {"timeout_ms": 1e-6}}),
    ("POST", "/predict", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    ("POST", "/predict", {"content": b"x", "headers": {"Content-Type": "text/csv"}}),
    ("POST", "/predict", {"content": bytes(200_000)}),
    ("PUT", "/predict", {}),
    ("POST", "/predict/batch", {"json": {"instances": [{"inputs": GOOD["inputs"]}] * 3}}),
    ("POST", "/predict/batch", {"json": {"instances": []}}),
    ("POST", f"{V2}/infer", {"json": {"inputs": [TENSOR]}}),
    ("POST", f"{V2}/infer", {"json": {"inputs": []}}),
    ("GET", V2, {}),
    ("GET", f"{V2}/versions/7", {}),
    ("GET", f"{V2}/config", {}),
    ("GET", "/v2/models/nope/ready", {}),
    ("GET", "/v2", {}),
    ("POST", "/v2/logging", {}),
    ("POST", "/v2/repository/models/double/load", {}),
    ("GET", "/health", {}),
    ("GET", "/nowhere", {}),
]


def route_of(method: str, path: str) -> str:
    if method == "PUT" or path == "/nowhere":
        return "other"
    for known in ("double", "nope"):
        path = path.replace(f"/models/{known}", "/models/{model}")
    return path.replace("/versions/7", "/versions/{version}")


def counted(server: RunningServer, name: str) -> Counter[tuple[str, ...]]:
    """By route and status, but for the scrapes themselves."""
    found = server.scrape().by(name, "route", "status")
    return Counter({key: int(count) for key, count in found.items() if key[0] != "/metrics"})


def test_property_16_every_answer_has_its_count_and_its_time(measured_server):
    server = measured_server
    requests = server.scrape().by("trainyard_requests_total", "route", "status")
    timed = counted(server, "trainyard_request_seconds_count")
    buckets = server.scrape().by("trainyard_request_seconds_bucket", "route", "status", "le")
    seen: Counter[tuple[str, ...]] = Counter()
    with server.client() as client:

        def ask(request) -> tuple[str, str]:
            method, path, options = request
            answer = client.request(method, path, **options)
            return route_of(method, path), str(answer.status_code)

        with ThreadPoolExecutor(16) as pool:
            seen.update(pool.map(ask, REQUESTS * 5))
    with socket.create_connection(server.address) as raw:
        raw.sendall(b"this is not HTTP\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    seen["malformed", "400"] += 1
    assert len({status for _, status in seen}) >= 8, seen
    assert counted(server, "trainyard_request_seconds_count") - timed == seen
    after = server.scrape()
    found = after.by("trainyard_requests_total", "route", "status") - requests
    assert {key: n for key, n in found.items() if key[0] != "/metrics"} == seen
    ends = after.by("trainyard_request_seconds_bucket", "route", "status", "le") - buckets
    assert {k[:2]: n for k, n in ends.items() if k[2] == "+Inf" and k[0] != "/metrics"} == seen
    assert found["/metrics", "200"] >= 1, "a scrape is a request too"


@pytest.mark.slow
def test_property_16_counts_stay_exact_when_one_of_four_api_processes_is_killed(bundles, tmp_path):
    with running_server(
        *("--model", str(bundles / "double.onnx"), "--threads", "1", "--api-processes", "4"),
        folder=tmp_path,
    ) as server:
        seen: Counter[tuple[str, ...]] = Counter()

        def ask(number: int) -> tuple[str, str]:
            good = number % 3 != 0
            body = {"inputs": {"x": [number] * (4 if good else 3)}}
            # A connection of its own, so that every process gets its share.
            with server.client() as client:
                return "/predict", str(client.post("/predict", json=body).status_code)

        with ThreadPoolExecutor(8) as pool:
            seen.update(pool.map(ask, range(60)))
            victim = server.children("api")[0]
            ready = len(events(server, "process ready"))
            os.kill(victim.pid, signal.SIGKILL)
            eventually(lambda: len(server.children("api")) == 4 and not victim.is_running())
            eventually(lambda: len(events(server, "process ready")) == ready + 1)
            eventually(lambda: server.metric("trainyard_process_deaths_total", kind="api") == 1)
            seen.update(pool.map(ask, range(60)))
        assert seen == {("/predict", "200"): 80, ("/predict", "400"): 40}
        counts = counted(server, "trainyard_request_seconds_count")
        assert {key: n for key, n in counts.items() if key[0] == "/predict"} == seen
        scrape = server.scrape()
        assert scrape.total("trainyard_samples_total") == 80
        assert scrape.total("trainyard_batch_size_sum") == 80
        assert scrape.total("nv_inference_request_success") == 80
        failed = scrape.total("trainyard_requests_total", route="/predict", status="400")
        assert failed == 40
