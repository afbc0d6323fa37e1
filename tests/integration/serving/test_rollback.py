"""A challenger that does worse than the champion loses its traffic by itself.

Before anything is said of a 95th percentile the champion has to have run 20 batches of a size, and
either version 20 more in the same seconds.
The slow challengers are as fast as they can be without being taken for a busy machine.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bundle.uri import fetch_version
from serving.routing.follower import Follower
from serving.routing.last_known_good import LastKnownGood
from tests.challengers import (
    UNLUCKY,
    bright,
    failing_parts,
    growing_parts,
    slow_parts,
    uneven_parts,
)
from tests.followed_model import (
    NAME,
    SAMPLE,
    FollowedModel,
    ask,
    events,
    version,
    versions,
)
from tests.running_server import RunningServer, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

RPS = 50
ROUNDS = 100
"""Some 10 milliseconds."""


def rolled_back(server: RunningServer) -> dict[str, Any] | None:
    """What the log says of it."""
    found = events(server, "a challenger is rolled back")
    return found[0] if found else None


def check_withdrawn(model: FollowedModel, server: RunningServer, client: httpx.Client) -> None:
    """Here, in the registry, and in the metrics."""
    eventually(lambda: set(versions(client, range(20))) == {"1"})
    eventually(lambda: dict(model.registry.routing(NAME).shares) == {1: 100.0})
    eventually(lambda: model.registry.history(NAME)[-1].action == "withdraw")  # written last
    assert model.registry.history(NAME)[-1].who == "guardrail"
    assert server.metric("trainyard_rollbacks_total", model=NAME, version="2") == 1
    assert server.metric("trainyard_route_percent", model=NAME, version="2") == 0


@pytest.mark.soak
def test_a_slower_challenger_loses_its_traffic_here_and_in_the_registry(tmp_path, empty_registry):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    number = model.register(slow_parts(150))
    model.registry.split(NAME, {1: 50, number: 50})
    with (
        model.serve("--api-processes", "2", "--batch-size", "1") as server,
        server.client() as client,
    ):
        began = time.monotonic()

        def loses() -> bool:
            assert ask(client).status_code == 200
            return rolled_back(server) is not None

        eventually(loses, seconds=240)
        print(f"rolled back after {time.monotonic() - began:.1f} s")
        check_withdrawn(model, server, client)
        assert "percentile" in (rolled_back(server) or {})["reason"]
        model.registry.split(NAME, {1: 50, number: 50})
        eventually(lambda: len(versions(client, range(20))) == 2)


def send(
    server: RunningServer, client: httpx.Client, pixel: Callable[[int], int], *, seconds: float
) -> tuple[Counter[tuple[str, int]], float]:
    """At a fixed rate pictures with that first pixel, until somebody is rolled back or it is time.

    The answers by version and status, and how long it took.
    """
    answers: list[tuple[str, int]] = []
    begin = time.monotonic()

    def ask_one(number: int) -> None:
        time.sleep(max(0.0, begin + number / RPS - time.monotonic()))
        answer = client.post("/predict", json=bright(SAMPLE, pixel(number)))
        answers.append((answer.headers["X-Model-Version"], answer.status_code))

    with ThreadPoolExecutor(8) as pool:
        while rolled_back(server) is None and time.monotonic() - begin < seconds:
            list(pool.map(ask_one, range(len(answers), len(answers) + RPS)))  # a second
    return Counter(answers), time.monotonic() - begin


def any_pixel(number: int) -> int:
    return random.Random(number).randrange(256)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("percent", [10, 50])
def test_a_challenger_that_takes_twice_as_long_is_caught_within_two_minutes(
    tmp_path, empty_registry, percent
):
    """Some 10 and 20 milliseconds, either spread as far as if inputs were of various lengths."""
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    model.register(uneven_parts(ROUNDS))
    model.register(uneven_parts(2 * ROUNDS))
    model.registry.split(NAME, {1: 100 - percent, 2: percent})
    with (
        model.serve("--api-processes", "1", "--batch-size", "1") as server,
        server.client() as client,
    ):
        answers, seconds = send(server, client, any_pixel, seconds=120)
        found = rolled_back(server)
        print(f"{percent} percent: {dict(answers)}, after {seconds:.1f} s: {found}")
        assert found is not None, "it was not caught"
        assert "percentile" in found["reason"]
        assert {status for _, status in answers} == {200}
        check_withdrawn(model, server, client)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_challenger_that_is_the_same_goes_on(tmp_path, empty_registry):
    """Also though the one that is asked less often finds less of itself in the caches."""
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    for _ in range(2):
        model.register(uneven_parts(ROUNDS))
    model.registry.split(NAME, {1: 90, 2: 10})
    with (
        model.serve("--api-processes", "1", "--batch-size", "1") as server,
        server.client() as client,
    ):
        answers, _ = send(server, client, any_pixel, seconds=120)
        print(dict(answers))
        assert rolled_back(server) is None
        assert {status for _, status in answers} == {200}


CLIENTS = 16
"""That ask at once, so that batches are as large as they are in a busy server."""
GROWTH = 300
"""Some milliseconds a sample."""


def batch_samples(server: RunningServer, number: str) -> float:
    """In the mean of the version's batches."""
    metrics = server.scrape()
    samples = metrics.total("trainyard_samples_total", version=number)
    return samples / max(1, metrics.total("trainyard_batches_total", version=number))


def press(server: RunningServer, *, seconds: float) -> tuple[Counter[tuple[str, int]], float]:
    """From many clients at once, until somebody is rolled back or it is time.

    The answers by version and status, and how long it took.
    """
    begin = time.monotonic()
    answers: Counter[tuple[str, int]] = Counter()

    def ask_on(_: int) -> list[tuple[str, int]]:
        found = []
        with server.client() as client:
            while time.monotonic() - begin < seconds and rolled_back(server) is None:
                for _ in range(20):
                    answer = ask(client)
                    found.append((answer.headers["X-Model-Version"], answer.status_code))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        for found in pool.map(ask_on, range(CLIENTS)):
            answers.update(found)
    return answers, time.monotonic() - begin


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_challenger_that_is_the_same_goes_on_whoever_has_the_larger_batches(
    tmp_path, empty_registry, percent
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    for _ in range(2):
        model.register(growing_parts(GROWTH))
    model.registry.split(NAME, {1: 100 - percent, 2: percent})
    with model.serve("--api-processes", "1") as server:
        answers, _ = press(server, seconds=90)
        sizes = {number: round(batch_samples(server, number), 1) for number in "12"}
        print(f"{percent} percent: {dict(answers)}, samples a batch {sizes}")
        assert rolled_back(server) is None
        assert {status for _, status in answers} == {200}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_challenger_that_takes_twice_as_long_is_caught_in_batches_of_whatever_size(
    tmp_path, empty_registry, percent
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    model.register(growing_parts(GROWTH))
    model.register(growing_parts(2 * GROWTH))
    model.registry.split(NAME, {1: 100 - percent, 2: percent})
    with model.serve("--api-processes", "1") as server, server.client() as client:
        answers, seconds = press(server, seconds=270)
        sizes = {number: round(batch_samples(server, number), 1) for number in "12"}
        found = rolled_back(server)
        print(
            f"{percent} percent: {dict(answers)}, samples a batch {sizes}, after {seconds:.1f} s: "
            f"{found}"
        )
        assert found is not None, "it was not caught"
        assert "percentile" in found["reason"]
        check_withdrawn(model, server, client)


def test_clients_that_do_not_wait_do_not_roll_back_a_version(tmp_path, empty_registry):
    """Whether they name it or have a key that leads to it."""
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    for _ in range(2):
        model.register(slow_parts(5 * ROUNDS))  # longer than anybody waits
    model.registry.split(NAME, {1: 50, 2: 50})
    with model.serve("--api-processes", "1") as server, server.client() as client:
        key = next(str(key) for key in range(100) if version(client, key=str(key)) == "2")
        other = next(str(key) for key in range(100) if version(client, key=str(key)) == "1")
        for _ in range(60):
            assert version(client, key=other) == "1"
        late = Counter(
            ask(client, timeout_ms=1, **options).status_code
            for options in ({"version": "2"}, {"key": key})
            for _ in range(100)
        )
        assert late[504] >= 100, late
        time.sleep(2.5)  # what was seen is told every second
        assert rolled_back(server) is None
        assert dict(model.registry.routing(NAME).shares) == {1: 50.0, 2: 50.0}


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_version_that_runs_until_the_servers_limit_is_caught(tmp_path, empty_registry):
    """Some seconds, of which the server waits for one. Most requests are shed meanwhile, and say
    nothing: it took five minutes on two cores.
    """
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    model.register(slow_parts(600 * ROUNDS))
    model.registry.split(NAME, {1: 50, 2: 50})
    with (
        model.serve("--api-processes", "2", "--timeout-ms", "1000") as server,
        server.client() as client,
    ):
        answers, seconds = press(server, seconds=480)
        found = rolled_back(server)
        print(f"{dict(answers)}, after {seconds:.1f} s: {found}")
        assert found is not None, "it was not caught"
        assert "fail" in found["reason"]
        check_withdrawn(model, server, client)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("percent", [10, 50])
def test_a_challenger_that_fails_a_fifth_of_its_requests_is_gone_within_a_minute(
    tmp_path, empty_registry, percent
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    model.register(failing_parts())
    model.registry.split(NAME, {1: 100 - percent, 2: percent})
    with model.serve("--api-processes", "2") as server, server.client() as client:
        answers, seconds = send(
            server, client, lambda number: UNLUCKY if number % 5 == 0 else 0, seconds=60
        )
        found = rolled_back(server)
        print(f"{percent} percent: {dict(answers)}; weight 0 after {seconds:.1f} s")
        assert found is not None, "it was not caught"
        assert set(answers) == {("1", 200), ("2", 200), ("2", 500)}
        assert "fail" in found["reason"]
        check_withdrawn(model, server, client)


def test_an_input_that_only_one_version_refuses_is_its_fault_unless_it_was_asked_for(
    tmp_path, empty_registry
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    model.register(failing_parts())
    model.registry.split(NAME, {1: 50, 2: 50})
    body = bright(SAMPLE, UNLUCKY)
    with model.serve() as server, server.client() as client:
        key = next(str(key) for key in range(100) if version(client, key=str(key)) == "2")
        answer = client.post("/predict", json={**body, "key": key})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_failed")
        message = answer.json()["error"]["message"]
        assert "version 1 answers" in message
        assert message.count("the model failed") == 1
        named = client.post("/predict", json={**body, "version": "2"})
        assert (named.status_code, named.json()["error"]["code"]) == (400, "invalid_input")
        assert client.post("/predict", json={**body, "version": "1"}).status_code == 200


def test_a_server_that_does_not_poll_judges_all_the_same(tmp_path, empty_registry):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    model.register(failing_parts())
    model.registry.split(NAME, {1: 50, 2: 50})
    with model.serve("--poll-seconds", "0") as server, server.client() as client:

        def loses() -> bool:
            client.post("/predict", json=bright(SAMPLE, UNLUCKY))
            return rolled_back(server) is not None

        eventually(loses, seconds=120)
        check_withdrawn(model, server, client)


def test_a_server_that_starts_withholds_what_the_registry_was_not_told_of_and_tells_it(
    tmp_path, empty_registry
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=2)
    model.registry.split(NAME, {1: 50, 2: 50})
    cache = tmp_path / "cache"
    fetch = partial(fetch_version, model.registry, cache=cache)
    wanted = Follower(f"models:/{NAME}", registry=model.registry, fetch=fetch).poll()
    store = LastKnownGood(cache, registry_uri=model.registry.uri)
    store.write(wanted.withdrawing({"2"}))
    with model.serve() as server, server.client() as client:
        assert set(versions(client, range(20))) == {"1"}
        eventually(lambda: dict(model.registry.routing(NAME).shares) == {1: 100.0})
        last = model.registry.history(NAME)[-1]
        assert (last.action, last.who) == ("withdraw", "guardrail")
        model.registry.split(NAME, {1: 50, 2: 50})
        eventually(lambda: len(versions(client, range(20))) == 2)
