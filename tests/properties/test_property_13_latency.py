"""Property 13: a request takes no longer than its wait for company, its batch, and a margin.

Proved on a clock of its own for every arrival; on the real server its own account of the phases is
checked, with a margin that only a hang exceeds.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batch import Item
from serving.batching import Batcher

DELAY = 0.25
MARGIN_SECONDS = 20.0
NEVER = 1e9


def simulate(arrivals: list[float], *, engine: float, batch_size: int = 8) -> list[float]:
    """Seconds from each arrival to its answer, with one worker whose batches take `engine`."""
    batcher: Batcher[int] = Batcher(batch_size=batch_size, capacity=10_000)
    items = [
        Item(index, "g", 1, arrived=at, due=at + DELAY, deadline=NEVER)
        for index, at in enumerate(arrivals)
    ]
    waiting, answered, now = list(items), {}, 0.0
    while len(answered) < len(items):
        while waiting and waiting[0].arrived <= now:
            assert batcher.add(waiting.pop(0))
        poll = batcher.poll(now)
        if poll.batch:
            now += engine
            answered.update((item.payload, now - item.arrived) for item in poll.batch)
            continue
        times = [waiting[0].arrived] if waiting else []
        now = min(times + ([] if poll.wake is None else [poll.wake]))
    return [answered[index] for index in range(len(items))]


@given(gaps=st.lists(st.floats(0.5, 5), min_size=1, max_size=20), engine=st.floats(0.001, 0.2))
def test_property_13_a_lone_request_takes_its_delay_and_one_run_of_the_engine(gaps, engine):
    arrivals = [sum(gaps[: index + 1]) for index in range(len(gaps))]  # never two at a time
    assert simulate(arrivals, engine=engine) == pytest.approx([DELAY + engine] * len(gaps))


@given(
    arrivals=st.lists(st.floats(0, 0.2), min_size=1, max_size=8).map(sorted),
    engine=st.floats(0.001, 5),
)
def test_property_13_what_fits_one_batch_takes_no_longer_than_a_lone_request(arrivals, engine):
    assert max(simulate(arrivals, engine=engine)) <= DELAY + engine + 1e-9


@given(
    arrivals=st.lists(st.floats(0, 30), min_size=1, max_size=60).map(sorted),
    engine=st.floats(0.001, 0.03),
)
def test_property_13_below_saturation_a_request_waits_for_one_batch_at_most(arrivals, engine):
    """Of eight at a time every 0.03 s the worker can keep up with what this test can send in a
    delay: besides its own wait and run, a request meets the batches that arrived before it.
    """
    before = [sum(other <= at for other in arrivals) for at in arrivals]
    for seconds, earlier in zip(simulate(arrivals, engine=engine), before, strict=True):
        assert seconds <= DELAY + engine * (1 + earlier) + 1e-9


def test_property_13_the_server_accounts_for_a_lone_requests_time(measured_server):
    before = measured_server.scrape()
    with measured_server.client() as client:
        answer = client.post("/predict", json={"inputs": {"x": [1, 2, 3, 4]}, "model": "double"})
    assert answer.status_code == 200
    after = measured_server.scrape()

    def spent(name: str, **labels: str) -> float:
        return after.total(name, model="double", **labels) - before.total(
            name, model="double", **labels
        )

    phases = {
        phase: spent("trainyard_phase_seconds_sum", phase=phase)
        for phase in ("decode", "queue", "infer", "encode")
    }
    total = spent("trainyard_request_seconds_sum", route="/predict")
    assert spent("trainyard_request_seconds_count", route="/predict") == 1
    assert spent("trainyard_batch_size_sum") == spent("trainyard_batch_size_count") == 1
    assert phases["queue"] >= 0.9 * DELAY, "it was alone, and waits for company"
    assert sum(phases.values()) <= total <= DELAY + phases["infer"] + MARGIN_SECONDS


def test_property_13_a_full_batch_does_not_wait(bundles, tmp_path):
    """Ten seconds of delay, and not one of them is spent by eight that come together."""
    from tests.running_server import running_server

    with (
        running_server(
            *("--model", str(bundles / "double.onnx"), "--threads", "1", "--batch-size", "8"),
            *("--batch-delay-ms", "10000"),
            folder=tmp_path,
        ) as server,
        server.client() as client,
    ):
        instances = [{"inputs": {"x": [index] * 4}} for index in range(8)]
        answer = client.post("/predict/batch", json={"instances": instances})
        assert answer.status_code == 200
        assert server.metric("trainyard_phase_seconds_sum", phase="queue") < 9.0
