"""Property 14: requests that come together run together, and each gets the answer it gets alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.tiny_bundle import encode

REQUESTS = 32
BATCH_SIZE = 8


def bodies() -> list[dict]:
    rng = np.random.default_rng(5)
    rows = rng.normal(0, 1, (REQUESTS, 4)).astype(np.float32)
    return [{"inputs": {"x": row.tolist()}, "model": "double"} for row in rows]


def at_once(send, things: list) -> list:
    with ThreadPoolExecutor(len(things)) as pool:
        return list(pool.map(send, things))


def test_property_14_concurrent_requests_share_executions_and_keep_their_answers(measured_server):
    with measured_server.client() as client:
        alone = [client.post("/predict", json=body).json()["outputs"] for body in bodies()[:3]]
        before = measured_server.scrape()
        answers = at_once(lambda body: client.post("/predict", json=body), bodies())
        after = measured_server.scrape()
    assert [answer.status_code for answer in answers] == [200] * REQUESTS
    outputs = [answer.json()["outputs"] for answer in answers]
    assert outputs[:3] == alone
    for found, body in zip(outputs, bodies(), strict=True):
        doubled = np.array(body["inputs"]["x"], np.float32) * 2
        assert np.array(found["y"], np.float32).tobytes() == doubled.tobytes()

    def ran(name: str, **labels: str) -> float:
        labels = {"model": "double"} | labels
        return after.total(name, **labels) - before.total(name, **labels)

    executions = ran("trainyard_batch_size_count")
    assert REQUESTS / BATCH_SIZE <= executions < REQUESTS
    assert ran("trainyard_batch_size_sum") == REQUESTS
    assert ran("trainyard_batch_size_bucket", le="1.0") < executions
    assert ran("trainyard_batch_size_bucket", le="8.0") == executions
    assert ran("nv_inference_exec_count") == executions
    assert ran("nv_inference_count") == REQUESTS
    sizes = after.by("trainyard_batches_total", "model", "size") - before.by(
        "trainyard_batches_total", "model", "size"
    )
    assert sum(int(size) * count for (_, size), count in sizes.items()) == REQUESTS


def test_property_14_pictures_are_told_apart_in_a_batch_as_alone(measured_server):
    rng = np.random.default_rng(6)
    pictures = [encode(rng.integers(0, 256, (9, 9), dtype=np.uint8)) for _ in range(16)]
    headers = {"Content-Type": "image/png"}
    with measured_server.client() as client:

        def ask(picture: bytes) -> dict:
            answer = client.post("/predict?model=shades", content=picture, headers=headers)
            return answer.json()["prediction"]

        together = at_once(ask, pictures)
        alone = [ask(picture) for picture in pictures[:4]]
    for found, expected in zip(together, alone, strict=False):
        assert found["label"] == expected["label"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
