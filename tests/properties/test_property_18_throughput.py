"""Property 18: throughput can be read off the counters: they count all work, and only grow."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

REQUESTS, INSTANCES = 24, 5


def test_property_18_the_rate_of_two_scrapes_is_what_clients_got_through(measured_server):
    instances = [{"inputs": {"x": [index] * 4}} for index in range(INSTANCES)]
    began, first = time.monotonic(), measured_server.scrape()
    with measured_server.client() as client, ThreadPoolExecutor(8) as pool:
        body = {"instances": instances, "model": "double"}
        answers = list(
            pool.map(lambda _: client.post("/predict/batch", json=body), range(REQUESTS))
        )
    ended, second = time.monotonic(), measured_server.scrape()
    assert [answer.status_code for answer in answers] == [200] * REQUESTS

    def rate(name: str, **labels: str) -> float:
        """As PromQL's rate(): growth by seconds."""
        grown = second.total(name, **labels) - first.total(name, **labels)
        return grown / (ended - began)

    seconds = ended - began
    labels = {"model": "double", "route": "/predict/batch"}
    requests = rate("trainyard_requests_total", **labels, status="200")
    samples = rate("trainyard_samples_total", model="double")
    assert requests * seconds == pytest.approx(REQUESTS)
    assert samples * seconds == pytest.approx(REQUESTS * INSTANCES)
    assert rate("nv_inference_count", model="double") == pytest.approx(samples)
    assert rate("trainyard_batch_seconds_total", model="double") > 0
    for name in ("trainyard_requests", "trainyard_samples", "trainyard_batches"):
        assert second.types[name] == "counter"


def test_property_18_counters_never_fall(measured_server):
    before = measured_server.scrape()
    with measured_server.client() as client:
        client.post("/predict", json={"inputs": {"x": [1, 2, 3, 4]}, "model": "double"})
    after = measured_server.scrape()
    for name, kind in before.types.items():
        if kind == "counter":
            labels = ("route", "model", "version", "variant", "status", "error", "size", "reason")
            earlier = before.by(f"{name}_total", *labels)
            later = after.by(f"{name}_total", *labels)
            assert all(later[key] >= value for key, value in earlier.items()), name
