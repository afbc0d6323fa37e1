"""Many clients at once: batches, deadlines, a full queue, and clients that do not wait."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.running_server import RunningServer, eventually, running_server
from tests.served_bundles import POISON

ROUNDS = 20_000
"""Of the slow model: seconds on a free machine, and more where a test takes longer as well."""
PATIENCE_MS = "240000"
GIVES_UP = httpx.Timeout(60, read=0.3)


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    """One sample at a time, and four that may wait."""
    with running_server(
        *("--model", str(bundles / "slow.onnx"), "--threads", "1", "--api-processes", "2"),
        *("--batch-size", "1", "--queue-size", "4", "--max-batch-instances", "4"),
        *("--timeout-ms", PATIENCE_MS),
        folder=tmp_path_factory.mktemp("server"),
    ) as server:
        yield server


@pytest.fixture
def busy(server):
    """While the worker is busy with one sample; afterwards it has answered that one."""
    before = server.scrape()
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        answer = pool.submit(client.post, "/predict", json={"inputs": {"work": ROUNDS}})
        eventually(lambda: server.metric("trainyard_requests_in_flight") == 1)
        time.sleep(0.2)  # from the API process to the worker
        yield client
        assert answer.result().status_code == 200
    after = server.scrape()
    assert after.total("trainyard_batch_size_count") > before.total("trainyard_batch_size_count")
    assert after.total("trainyard_requests_in_flight") == 0


def ran(server: RunningServer) -> float:
    return server.metric("trainyard_batch_size_sum")


def test_an_abandoned_request_never_runs(server, busy):
    before = ran(server)
    for _ in range(4):
        with pytest.raises(httpx.ReadTimeout):
            busy.post("/predict", json={"inputs": {"work": 1}}, timeout=GIVES_UP)
    eventually(lambda: server.metric("trainyard_dropped_total", reason="cancelled") == 4)
    eventually(lambda: ran(server) > before, seconds=200)
    assert busy.post("/predict", json={"inputs": {"work": 1}}).status_code == 200
    assert ran(server) == before + 2
    assert server.metric("trainyard_requests_total", status="499", error="client_gone") == 4


def test_a_deadline_is_answered_504_and_the_work_never_runs(server, busy):
    before = ran(server)
    body = {"inputs": {"work": 1}, "timeout_ms": 100}
    response = busy.post("/predict", json=body)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    eventually(lambda: ran(server) > before, seconds=200)
    assert busy.post("/predict", json={"inputs": {"work": 1}}).status_code == 200
    assert ran(server) == before + 2


def test_a_full_queue_takes_its_size_and_refuses_the_rest(server, busy):
    with ThreadPoolExecutor(10) as pool:
        answers = [
            pool.submit(busy.post, "/predict", json={"inputs": {"work": 1}}) for _ in range(10)
        ]
        responses = [answer.result() for answer in answers]
    assert sorted(r.status_code for r in responses) == [200] * 4 + [503] * 6
    refused = [response for response in responses if response.status_code == 503]
    assert {response.json()["error"]["code"] for response in refused} == {"overloaded"}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)


def test_an_idle_server_does_not_spin(server):
    processes = [psutil.Process(server.process.pid), *server.children()]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(2.0)
    used = [sum(p.cpu_times()[:2]) - b for p, b in zip(processes, before, strict=True)]
    assert max(used) <= 0.2  # a loop that spins would have used two seconds


def test_parallel_clients_share_batches_and_each_gets_its_own_answer(bundles, tmp_path):
    with (
        running_server(
            *("--model", str(bundles / "double.onnx"), "--model", str(bundles / "text")),
            *("--threads", "1", "--api-processes", "2", "--batch-delay-ms", "20"),
            folder=tmp_path,
        ) as server,
        server.client() as client,
    ):
        poison = {"inputs": {"input_ids": [POISON], "attention_mask": [1]}, "model": "moods"}

        def double(number: int) -> httpx.Response:
            return client.post("/predict", json={"inputs": {"x": [number, 0, 0, 0]}})

        def moods(number: int) -> httpx.Response:
            if number == 50:
                return client.post("/predict", json=poison)
            ids = {"input_ids": [4 + number % 3], "attention_mask": [1]}
            return client.post("/predict", json={"inputs": ids, "model": "moods"})

        with ThreadPoolExecutor(100) as pool:
            for _ in range(3):
                answers = list(pool.map(double, range(100)))
                assert [a.json()["outputs"]["y"][0] for a in answers] == [
                    2.0 * number for number in range(100)
                ]
            answers = list(pool.map(moods, range(100)))
        assert [a.status_code for a in answers] == [200] * 50 + [400] + [200] * 49
        by_input = {
            n % 3: a.json()["prediction"]["label"] for n, a in enumerate(answers) if n != 50
        }
        for number, answer in enumerate(answers):
            if number != 50:
                assert answer.json()["prediction"]["label"] == by_input[number % 3]
        count = server.metric("trainyard_batch_size_count", model="double")
        assert server.metric("trainyard_batch_size_sum", model="double") == 300
        assert count < 300
        total = server.metric("trainyard_requests_total", route="/predict")
        assert total == 400
        assert server.metric("trainyard_request_seconds_count", route="/predict") == 400
