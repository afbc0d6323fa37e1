"""Pictures that take long to decode hold up neither deadlines nor departures."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from serving.intake import DECODE_THREADS, SMALL_BYTES
from tests.running_server import eventually, running_server
from tests.tiny_bundle import encode

PATIENCE_MS = "240000"
JSON = {"Content-Type": "application/json"}
GIVES_UP = httpx.Timeout(60, read=0.3)
TEXT = base64.b64encode(encode(np.zeros((7000, 7000), np.uint8))).decode()
SECONDS_OF_WORK = {"instances": [{"image": TEXT}] * 24}
SMALL = {"image": base64.b64encode(encode(np.zeros((8, 8), np.uint8))).decode()}


@pytest.fixture
def server(bundles, tmp_path):
    with running_server(
        *("--model", str(bundles / "image"), "--threads", "1", "--api-processes", "1"),
        *("--timeout-ms", PATIENCE_MS),
        folder=tmp_path,
    ) as server:
        yield server


def test_what_waits_for_a_thread_ends_with_its_deadline_and_its_client(server):
    with ThreadPoolExecutor(DECODE_THREADS) as pool, server.client() as client:

        def left() -> float:
            return server.metric("trainyard_requests_total", status="499", error="client_gone")

        def late(*, padding: int = 0) -> bool:
            body = json.dumps({**SMALL, "timeout_ms": 100}).encode() + b" " * padding
            response = client.post("/predict", content=body, headers=JSON)
            return response.status_code == 504

        slow = [
            pool.submit(client.post, "/predict/batch", json=SECONDS_OF_WORK)
            for _ in range(DECODE_THREADS)
        ]
        eventually(late)
        assert late(padding=SMALL_BYTES)  # where its limit is read on a thread as well
        with pytest.raises(httpx.ReadTimeout):
            client.post("/predict", json=SMALL, timeout=GIVES_UP)
        eventually(lambda: left() == 1)
        assert not any(answer.done() for answer in slow)
        assert [answer.result().status_code for answer in slow] == [200] * DECODE_THREADS
        assert client.post("/predict", json=SMALL).status_code == 200
