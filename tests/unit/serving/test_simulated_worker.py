"""What a worker answers in time, at rest, after a stall and when it is asked for too much."""

from __future__ import annotations

import math

import pytest

from tests.simulated_worker import Request, SimulatedWorker, arrivals

BATCH_SIZE = 32


def engine(fixed: float, each: float = 0.0, *, stalls: tuple[float, float] = (math.inf, 0.0)):
    """Of a straight line; the first batch that begins after a time takes so much longer."""
    waiting = [stalls]

    def seconds(batch, now):
        extra = waiting.pop()[1] if waiting and waiting[0][0] <= now else 0.0
        return fixed + each * sum(item.samples for item in batch) + extra

    return seconds


ENGINES = pytest.mark.parametrize(
    "takes",
    [(0.01, 0.0, 0.025), (0.1, 0.0, 0.25), (0.005, 0.0003, 0.05), (0.0, 0.001, 0.1)],
    ids=["10 ms", "100 ms", "part of it by samples", "all of it by samples"],
)


STREAMS = pytest.mark.parametrize("streams", [1, 2, 4])


def asked(rate: float, timeout: float, *, batches: float, batch: float) -> list[Request]:
    """For as long as so many batches take."""
    return [Request(at, timeout) for at in arrivals(rate, seconds=batches * batch)]


def settings(streams: int, takes: tuple[float, float, float]) -> dict:
    """Batches run beside each other where their time is their samples'."""
    fixed, each, _ = takes
    return {"batch_size": BATCH_SIZE, "streams": streams, "shares": lambda _: fixed < each}


def in_time(requests: list[Request]) -> int:
    return sum(request.in_time for request in requests)


@STREAMS
@ENGINES
@pytest.mark.parametrize("load", [0.15, 0.6])
def test_what_fits_is_answered_in_time(monkeypatch, streams, takes, load):
    fixed, each, timeout = takes
    batch = fixed + each * BATCH_SIZE
    requests = asked(load * BATCH_SIZE / batch, timeout, batches=400, batch=batch)
    SimulatedWorker(monkeypatch, requests, **settings(streams, takes)).run(engine(fixed, each))
    assert in_time(requests) >= 0.99 * len(requests)


@STREAMS
@ENGINES
@pytest.mark.parametrize("load", [0.15, 0.6])
def test_what_fits_is_answered_in_time_again_after_a_stall(monkeypatch, streams, takes, load):
    """Of which nothing is left after some forty batches."""
    fixed, each, timeout = takes
    batch = fixed + each * BATCH_SIZE
    requests = asked(load * BATCH_SIZE / batch, timeout, batches=500, batch=batch)
    begins, stall = 100 * batch, max(0.3, 3 * batch)
    worker = SimulatedWorker(monkeypatch, requests, **settings(streams, takes))
    worker.run(engine(fixed, each, stalls=(begins, stall)))
    over = begins + stall + 40 * (batch if each else fixed)
    before = [request for request in requests if request.at < begins - timeout]
    after = [request for request in requests if request.at > over]
    assert in_time(before) >= 0.99 * len(before)
    assert len(after) > 100
    assert in_time(after) >= 0.99 * len(after)


@STREAMS
@ENGINES
def test_as_much_as_ever_is_answered_in_time_under_overload(monkeypatch, streams, takes):
    fixed, each, timeout = takes
    batch = fixed + each * BATCH_SIZE
    peak = BATCH_SIZE / batch
    requests = asked(3 * peak, timeout, batches=200, batch=batch)
    worker = SimulatedWorker(monkeypatch, requests, **settings(streams, takes))
    worker.run(engine(fixed, each))
    assert in_time(requests) >= 0.9 * peak * requests[-1].at
    ran = sum(len(batch) for _, batch in worker.batches)
    most = 0.03 if streams == 1 else 0.05  # for whom there was time on all threads, but not on one
    assert ran - in_time(requests) <= most * ran  # work for nobody


@pytest.mark.parametrize("timeout", [0.005, 0.01])
def test_batches_are_cut_where_deadlines_are_only_a_few_samples_away(monkeypatch, timeout):
    requests = [Request(at, timeout) for at in arrivals(3000, seconds=6.0)]
    worker = SimulatedWorker(monkeypatch, requests, batch_size=BATCH_SIZE)
    worker.run(engine(0.0, 0.001))
    assert in_time(requests) >= 0.9 * 1000 * 6.0
    assert sum(len(batch) for _, batch in worker.batches) - in_time(requests) <= 0.1 * 6000


def together(at: float, timeout: float, *, count: int = BATCH_SIZE) -> list[Request]:
    """So many clients at about once."""
    return [Request(at + 1e-6 * number, timeout) for number in range(count)]


@pytest.mark.parametrize("timeout", [0.1, 0.3, 0.5])
def test_of_many_that_come_at_once_among_single_ones_those_are_let_in_for_whom_there_is_time(
    monkeypatch, timeout
):
    """Each takes 10 ms. Of none so much time is lost that the others are late."""
    single = [Request(at, timeout) for at in arrivals(20, seconds=60)]
    bursts = [together(1.0 + second, timeout) for second in range(58)]
    requests = [*single, *(request for burst in bursts for request in burst)]
    worker = SimulatedWorker(monkeypatch, requests, batch_size=BATCH_SIZE)
    worker.run(engine(0.0, 0.01))
    assert in_time(single) >= 0.85 * len(single)
    for burst in bursts[3:]:
        assert in_time(burst) >= 0.6 * min(BATCH_SIZE, timeout / 0.01)
    late = sum(request.timeout < request.took < math.inf for request in requests)
    assert late <= 0.02 * len(requests)


@pytest.mark.parametrize("timeout", [0.3, 0.5])
def test_who_has_time_is_let_in_beside_requests_of_many_samples(monkeypatch, timeout):
    """Which take 320 ms, and come every second."""
    single = [Request(at, timeout) for at in arrivals(20, seconds=60)]
    large = [Request(1.5 + second, timeout, samples=BATCH_SIZE) for second in range(58)]
    worker = SimulatedWorker(monkeypatch, [*single, *large], batch_size=BATCH_SIZE)
    worker.run(engine(0.0, 0.01))
    assert in_time(single) >= 0.95 * len(single)
    assert in_time(large) == (len(large) if timeout > 0.32 else 0)


def test_a_first_large_batch_that_stalls_does_not_keep_batches_small(monkeypatch):
    """Every batch takes 10 ms but that, which is taken for one of a cost that goes by samples."""
    before = [Request(at, 0.025) for at in arrivals(60, seconds=4.9)]
    after = [Request(5.5 + at, 0.025) for at in arrivals(9600, seconds=5.0)]
    requests = [*before, *together(5.0, 0.025), *after]
    worker = SimulatedWorker(monkeypatch, requests, batch_size=BATCH_SIZE)
    worker.run(engine(0.01, stalls=(5.0, 0.3)))
    assert in_time([request for request in after if request.at > 6.5]) >= 0.9 * 3200 * 4.0


def test_as_much_as_ever_is_answered_in_time_under_overload_after_a_stall(monkeypatch):
    requests = [Request(at, 0.025) for at in arrivals(9600, seconds=3.0)]
    worker = SimulatedWorker(monkeypatch, requests, batch_size=BATCH_SIZE)
    worker.run(engine(0.01, stalls=(0.5, 0.3)))
    after = [request for request in requests if request.at > 1.2]
    assert in_time(after) >= 0.9 * 3200 * 1.8


@pytest.mark.parametrize("rate", [100, 200])
def test_who_has_time_is_not_overtaken_for_ever_by_those_who_have_none(monkeypatch, rate):
    """As when nobody is pressed: behind the batch that runs, but for three that are let pass."""
    pressed = [
        Request(at, 0.25 + 0.01 * (number % 4), "a")
        for number, at in enumerate(arrivals(rate, seconds=20))
    ]
    patient = [Request(at + 0.5, 10.0, "b") for at in range(2, 18)]
    worker = SimulatedWorker(monkeypatch, [*pressed, *patient], batch_size=BATCH_SIZE)
    worker.run(engine(0.1))
    assert max(request.took for request in patient) < (1 + 3 + 1 + 0.5) * 0.1
    assert in_time(pressed) >= 0.9 * len(pressed)


def test_lengths_fill_a_batch_by_their_tokens(monkeypatch):
    """Eight of them do: thrice as much as can be answered is not taken for a few batches."""
    requests = [Request(at, 1.0, length=64) for at in arrivals(3 * 8 / 0.02, seconds=6.0)]
    worker = SimulatedWorker(
        monkeypatch, requests, batch_size=BATCH_SIZE, batch_tokens=512, capacity=10_000
    )
    worker.run(engine(0.02))
    assert {len(batch) for _, batch in worker.batches[1:-1]} == {8}
    assert in_time(requests) >= 0.9 * 8 / 0.02 * 6.0
