"""A shadow is asked what the champion answers, and compared: nobody waits for it, or notices it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time
from dataclasses import replace
from functools import partial

import numpy as np
import psutil
import pytest
import uvloop

from bundle.preprocessing.image import ImagePreprocessor
from tests.challengers import slow_parts
from tests.followed_model import NAME, SAMPLE, FollowedModel, ask, events, index, version
from tests.running_server import RunningServer, eventually
from tests.tiny_bundle import IMAGE, classifier_parts, image_model, image_parts, pictures

# A shadow computes only where nobody else wants to: beside other tests it would hardly ever.
pytestmark = pytest.mark.soak
LARGER = replace(IMAGE, height=12, width=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory, empty_registry):
    """Version 1 is champion; 2 has its weights, 3 others, 4 takes larger pictures, 5 is slow and 6
    does not answer as its golden examples say.
    """
    model = FollowedModel.create(tmp_path_factory.mktemp("model"), empty_registry, versions=0)
    model.register(image_parts(seed=5))
    model.register(image_parts(seed=5))
    model.register(image_parts(seed=6))
    larger = classifier_parts(
        image_model(LARGER), ImagePreprocessor(LARGER), name=NAME, samples=pictures(2)
    )
    model.register(larger)
    model.register(slow_parts(1500))
    good, other = image_parts(seed=5), image_parts(seed=6)
    wrong = {**good.files, "model.onnx": other.files["model.onnx"]}
    model.register(replace(good, files=wrong))
    return model


@pytest.fixture(scope="module")
def server(model):
    with model.serve("--api-processes", "2", "--poll-seconds", "0.2") as server:
        yield server


@pytest.fixture
def shade(model, server, client):
    """Give the champion a shadow, and wait until it is asked."""

    def begin(number: int) -> None:
        model.registry.shadow(NAME, number)
        before = asked(server, number)

        def asks() -> bool:
            assert version(client) == "1"
            return asked(server, number) > before

        eventually(asks, 120)

    return begin


def asked(server: RunningServer, number: int) -> float:
    return server.metric("trainyard_shadow_requests_total", shadow=str(number))


def shadow_pid(server: RunningServer) -> int:
    """Of the process that holds the shadows; 0 if none runs."""
    pids = [e["pid"] for e in events(server, "process ready") if e["process"] == "shadow-0"]
    return pids[-1] if pids and psutil.pid_exists(pids[-1]) else 0


def settled(server: RunningServer, number: int) -> None:
    """Nothing is under way to the shadow any more."""
    seen = [-1.0]

    def still() -> bool:
        seen.append(asked(server, number))
        return seen[-1] == seen[-2]

    eventually(still)


def test_a_shadow_of_the_same_weights_agrees_in_everything(shade, server, client):
    shade(2)
    assert os.sched_getscheduler(shadow_pid(server)) == os.SCHED_IDLE
    client.post("/predict/batch", json={"instances": [SAMPLE] * 5})
    tensor = {"name": "image", "shape": [2, 3, 6, 5], "datatype": "UINT8", "data": [9] * 180}
    client.post(f"/v2/models/{NAME}/infer", json={"inputs": [tensor]})
    labels = {"model": NAME, "version": "1", "shadow": "2"}
    agreement = "trainyard_shadow_agreement_total"
    # A request has one sample, but for a batch of five and a tensor of two.
    eventually(lambda: server.metric(agreement, same="yes", **labels) >= asked(server, 2) + 5, 120)
    settled(server, 2)
    found = server.scrape()
    assert found.total(agreement, same="no", **labels) == 0
    samples = found.total(agreement, same="yes", **labels)
    divergences = "trainyard_shadow_divergence"
    assert found.total(f"{divergences}_count", output="probabilities", **labels) == samples
    assert found.total(f"{divergences}_sum", **labels) == 0


def test_a_shadow_of_other_weights_is_found_to_be_apart_and_counts_as_no_request(
    shade, server, client
):
    shade(3)
    settled(server, 3)
    found = server.scrape()
    assert found.total("trainyard_shadow_divergence_sum", shadow="3") > 0
    for name in ("trainyard_requests_total", "trainyard_batches_total", "trainyard_samples_total"):
        assert found.total(name, version="3") == 0, name
        assert found.total(name, version="1") > 0, name
    assert found.total("trainyard_queue_depth") == 0
    assert [m["version"] for m in client.get("/health").json()["models"]] == ["1"]
    assert ask(client, version="3").status_code == 404
    assert ask(client, version="shadow").status_code == 404


def test_a_shadow_that_takes_other_tensors_is_given_what_the_client_sent(shade, server, client):
    name, [picture] = "trainyard_shadow_requests_total", pictures(1)
    shade(4)  # by tensors of the champion's size, which it does not take
    assert server.metric(name, shadow="4", outcome="failed") > 0
    assert server.metric(name, shadow="4", outcome="answered") == 0
    client.post("/predict", content=picture, headers={"Content-Type": "image/png"})
    eventually(lambda: server.metric(name, shadow="4", outcome="answered") == 1, 120)


def test_what_a_saturated_shadow_cannot_take_is_dropped_and_requests_go_on(shade, server, client):
    shade(5)
    for _ in range(20):
        response = client.post("/predict/batch", json={"instances": [SAMPLE] * 60})
        assert response.headers["X-Model-Version"] == "1"
    dropped = server.scrape().by("trainyard_shadow_dropped_total", "shadow", "reason")
    assert dropped["5", "full"] > 0
    assert server.metric("trainyard_dropped_total") == 0


def test_a_shadow_that_dies_is_replaced_and_requests_do_not_notice(shade, server, client):
    shade(2)
    killed = shadow_pid(server)
    os.kill(killed, signal.SIGKILL)
    before = asked(server, 2)

    def asks() -> bool:
        assert version(client) == "1"
        return asked(server, 2) > before + 1

    eventually(asks, 120)
    assert shadow_pid(server) != killed
    assert server.metric("trainyard_process_deaths_total", kind="shadow") == 1


def test_a_bad_shadow_is_refused_with_its_reason_and_without_any_no_process_is_left(
    model, server, client
):
    model.registry.shadow(NAME, 6)
    eventually(lambda: index(client).get("6", ("",))[0] == "UNAVAILABLE")
    assert "golden" in index(client)["6"][1]
    assert version(client) == "1"
    model.registry.shadow(NAME, None)
    eventually(lambda: "6" not in index(client))
    eventually(lambda: not shadow_pid(server))
    kinds = server.scrape().by("trainyard_process_deaths_total", "kind")
    assert set(kinds) <= {("shadow",)}  # of the test that kills one


ROUNDS, ROUND_SECONDS, RPS, CONNECTIONS = 10, 12.0, 50, 8
WARM_UP_SECONDS = 1.0
"""The first requests of connections take longer, with a shadow and without: as many as the slowest
hundredth has.
"""
_BODY = json.dumps(SAMPLE).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def latencies(server: RunningServer, seconds: float) -> list[float]:
    """Of requests at a fixed rate, whatever becomes of them, from when each was due.

    On one thread, and without collections: threads of a client wait for each other longer than for
    the server.
    """
    begin = time.monotonic() + 0.1
    found = []

    async def connection(first: int) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        for number in range(first, int(seconds * RPS), CONNECTIONS):
            due = begin + number / RPS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            if due - begin > WARM_UP_SECONDS:
                found.append(time.monotonic() - due)
        writer.close()
        await writer.wait_closed()

    async def connections() -> None:
        await asyncio.gather(*map(connection, range(CONNECTIONS)))

    gc.collect()
    gc.disable()
    try:
        uvloop.run(connections())
    finally:
        gc.enable()
    return found


@pytest.mark.timeout(900)
def test_beside_a_saturated_shadow_requests_take_as_long(tmp_path, empty_registry):
    """Rounds with and without take turns, so that what else happens on the machine happens to both;
    of the percentiles of the rounds the median is taken, for which a single bad round is nothing.
    The champion takes some milliseconds, as models do.
    """
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    model.register(slow_parts(40))
    model.register(slow_parts(20_000))
    without: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    with (
        model.serve("--api-processes", "1", "--poll-seconds", "10") as server,
        server.client() as client,
    ):
        latencies(server, 3.0)
        for _ in range(ROUNDS):
            without.append(percentiles(server))
            model.registry.shadow(NAME, 2)
            eventually(partial(is_asked, server, client, before=asked(server, 2)), 60)
            before = dropped(server)
            beside.append(percentiles(server))
            assert dropped(server) > before, "the shadow was not saturated"
            model.registry.shadow(NAME, None)
            eventually(lambda: not shadow_pid(server), 60)
    print(f"50 and 99 % within, ms: {without}\nbeside a shadow: {beside}")
    half, most = np.median(beside, axis=0) / np.median(without, axis=0)
    print(f"ratios {half:.3f}, {most:.3f}")
    assert half <= 1.05
    assert most <= 1.05


def percentiles(server: RunningServer) -> tuple[float, float]:
    """The 50th and the 99th, in ms."""
    half, most = np.percentile(latencies(server, ROUND_SECONDS), [50, 99]) * 1000
    return round(float(half), 2), round(float(most), 2)


def is_asked(server: RunningServer, client, *, before: float) -> bool:
    return version(client) == "1" and asked(server, 2) > before


def dropped(server: RunningServer) -> float:
    """As many as the shadow could not take."""
    reasons = server.scrape().by("trainyard_shadow_dropped_total", "reason")
    return sum(number for (reason,), number in reasons.items() if reason != "not_loaded")
