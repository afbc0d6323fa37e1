"""A server that follows an MLflow server, which is killed, hangs, and hands out bad versions."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from itertools import count

import psutil
import pytest

from bundle.registry import ModelRegistry
from tests import damage
from tests.api_clients import api_clients
from tests.challengers import UNLUCKY, bright, failing_parts
from tests.followed_model import (
    ADMIN_KEY,
    NAME,
    SAMPLE,
    FollowedModel,
    events,
    index,
    version,
    versions,
)
from tests.mlflow_server import MlflowServer
from tests.running_server import RunningServer, eventually, start
from tests.tiny_bundle import image_parts
from tests.traffic import traffic

# One MLflow server, which takes long to start, for all of them.
pytestmark = pytest.mark.slow

PERIOD = 1.0
"""Seconds between two looks at the registry."""
BOUND = 30.0
"""Seconds in which a version is fetched, loaded and proved, or a server ends, on a machine that is
busy; MLflow's own retries would take minutes."""
START = 60.0
"""Seconds that a start may take, on a machine that is busy."""
PATIENCE = 2.0
"""Seconds that the registry is given to answer, twice."""
AWAY = "the registry cannot be asked: what is served stays"
AGE = "trainyard_registry_age_seconds"
PROCESSES = 2


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory, empty_registry):
    """With two versions of `digits`."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"), registry=empty_registry)
    server.begin()
    try:
        server.wait()
        for seed in (1, 2):
            bundle = image_parts(seed=seed).write(server.folder / f"bundle-{seed}")
            ModelRegistry(server.uri).register(bundle.path)
        yield server
    finally:
        server.kill()


@pytest.fixture
def model(mlflow, tmp_path):
    """Version 1 is champion, and no server has a cache yet."""
    model = FollowedModel(tmp_path, ModelRegistry(mlflow.uri))
    model.registry.promote(NAME, 1)
    return model


def promote_behind(mlflow: MlflowServer, number: int) -> None:
    """What another server of the same database does meanwhile."""
    ModelRegistry(f"sqlite:///{mlflow.database}").promote(NAME, number)


@contextmanager
def serve(model: FollowedModel):
    arguments = ("--api-processes", str(PROCESSES), "--poll-seconds", str(PERIOD))
    environment = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PATIENCE))}
    with model.serve(*arguments, environment=environment) as server:
        yield server


def serve_once(model: FollowedModel) -> None:
    """So that what is served is kept for the next start."""
    with serve(model) as server:
        eventually(lambda: server.metric(AGE) < PERIOD)
        eventually(lambda: bool(list(model.folder.glob("cache/last-known-good/*.json"))))


def check_that_it_says_so(server: RunningServer) -> None:
    """The age rises, and that by the second; /health is as it was."""
    eventually(lambda: len(events(server, AWAY)) == 1)
    asked, age, answered = time.monotonic(), server.metric(AGE), time.monotonic()
    time.sleep(2 * PERIOD)
    least, later, most = time.monotonic() - answered, server.metric(AGE), time.monotonic() - asked
    assert least - 0.1 <= later - age <= most + 0.1
    with api_clients(server, PROCESSES) as clients:
        for client in clients:
            health = client.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "ready")
            models = [(m["version"], m["percent"]) for m in health.json()["models"]]
            assert models == [("1", 100.0)]
            assert "refused" not in health.json()
            assert version(client) == "1"


def check_that_it_follows(server: RunningServer, number: int) -> float:
    """The seconds until every API process has that version, and answers by it."""
    began = time.monotonic()
    with api_clients(server, PROCESSES) as clients:
        for client in clients:
            eventually(lambda client=client: version(client) == str(number))
        seconds = time.monotonic() - began
    eventually(lambda: server.metric(AGE) < 2 * PERIOD)
    assert len(events(server, AWAY)) == 1
    assert len(events(server, "the registry answers again")) == 1
    return seconds


def check_that_it_comes_back(server: RunningServer, mlflow: MlflowServer) -> None:
    """And is followed to what was promoted while it was gone."""
    check_that_it_says_so(server)
    promote_behind(mlflow, 2)
    mlflow.begin()
    mlflow.wait()
    seconds = check_that_it_follows(server, 2)
    print(f"{seconds:.2f} s after the registry was back")
    assert seconds <= PERIOD + BOUND


@pytest.mark.soak
def test_a_registry_that_is_killed_is_not_missed_and_is_followed_when_it_is_back(mlflow, model):
    with serve(model) as server, traffic(server, pause=0.01) as (statuses, _):
        eventually(lambda: server.metric(AGE) < PERIOD)
        mlflow.kill()
        check_that_it_comes_back(server, mlflow)
    assert set(statuses) == {200}


@pytest.mark.soak
def test_a_registry_that_is_gone_at_the_start_is_followed_when_it_is_back(mlflow, model):
    serve_once(model)
    mlflow.kill()
    with serve(model) as server, traffic(server, pause=0.01) as (statuses, _):
        assert "served as it was served last" in server.log
        check_that_it_comes_back(server, mlflow)
    assert set(statuses) == {200}


@pytest.mark.soak
def test_a_registry_that_hangs_is_given_up_and_neither_serving_nor_the_end_waits_for_it(
    mlflow, model
):
    with serve(model) as server, traffic(server, pause=0.01) as (statuses, _):
        eventually(lambda: server.metric(AGE) < PERIOD)
        mlflow.pause()
        try:
            began = time.monotonic()
            check_that_it_says_so(server)
            assert time.monotonic() - began <= PERIOD + 2 * PATIENCE + 2 * PERIOD + BOUND
            promote_behind(mlflow, 2)
        finally:
            mlflow.go_on()
        seconds = check_that_it_follows(server, 2)
        print(f"{seconds:.2f} s after the registry went on, {len(statuses)} requests")
        assert seconds <= PERIOD + 2 * PATIENCE + BOUND
    assert set(statuses) == {200}
    with serve(model) as server:
        mlflow.pause()
        try:
            time.sleep(1.5 * PERIOD)  # it asks now
            server.signal(signal.SIGTERM)
            began = time.monotonic()
            assert server.wait() == 0
            assert time.monotonic() - began < BOUND
        finally:
            mlflow.go_on()


@pytest.mark.soak
def test_while_a_registry_hangs_a_bad_challenger_loses_its_traffic_all_the_same(mlflow, model):
    """And what is thought of it can be asked for; the registry is told when it goes on."""
    bundle = failing_parts().write(model.folder / "failing")
    number = model.registry.register(bundle.path).number
    model.registry.split(NAME, {1: 50, number: 50})
    hanging = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1000"}
    with (
        model.serve(environment=hanging, admin=True) as server,
        server.client() as client,
    ):
        client.headers["X-API-Key"] = ADMIN_KEY
        eventually(lambda: set(versions(client, range(20))) == {"1", str(number)})
        mlflow.pause()
        try:
            time.sleep(2.0)  # it asks now, and waits for minutes
            began, users = time.monotonic(), count()

            def loses() -> bool:
                body = {**bright(SAMPLE, UNLUCKY), "key": str(next(users))}
                client.post("/predict", json=body)
                return bool(events(server, "a challenger is rolled back"))

            eventually(loses, 120)
            print(f"rolled back {time.monotonic() - began:.1f} s after the registry hung")
            eventually(lambda: set(versions(client, range(20))) == {"1"})
            found = client.get(f"/admin/models/{NAME}/challengers").json()
            assert found == {"guardrail": "rollback", "challengers": []}
        finally:
            mlflow.go_on()
        eventually(lambda: dict(model.registry.routing(NAME).shares) == {1: 100.0}, 60)
        assert model.registry.history(NAME)[-1].who == "guardrail"


@pytest.mark.soak
def test_a_registry_that_hangs_at_the_start_holds_up_neither_the_start_nor_its_end(mlflow, model):
    serve_once(model)
    mlflow.pause()
    try:
        began = time.monotonic()
        with serve(model) as server:
            seconds = time.monotonic() - began
            print(f"ready after {seconds:.1f} s")
            assert seconds < 2 * PATIENCE + START
            assert "served as it was served last" in server.log
            check_that_it_says_so(server)
        process = start(
            ["--port", "0", "--model", f"models:/{NAME}"],
            log_file=model.folder / "stopped.log",
            environment=model.environment,
        )
        asks = psutil.Process(process.pid)
        eventually(lambda: any(c.net_connections("tcp") for c in asks.children(recursive=True)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 128 + signal.SIGTERM
    finally:
        mlflow.go_on()


DAMAGES = {
    damage.cut_short: "bytes",
    damage.altered: "sha256",
    damage.with_a_stray_file: "stray",
    damage.leading_out: "'..'",
}
"""And what the reason says."""


@pytest.mark.soak
def test_bad_versions_that_came_over_http_are_refused_and_leave_nothing(mlflow, model):
    numbers = {}
    for seed, (harm, reason) in enumerate(DAMAGES.items(), start=10):
        bundle = image_parts(seed=seed).write(model.folder / f"bundle-{seed}")
        found = model.registry.register(bundle.path)
        [folder] = mlflow.folder.glob(f"artifacts/*/{found.run_id}/artifacts/*")
        harm(folder)
        numbers[found.number] = reason
    with serve(model) as server, server.client() as client:
        for number, reason in numbers.items():
            model.registry.promote(NAME, number)
            eventually(lambda n=str(number): index(client).get(n, ("",))[0] == "UNAVAILABLE")
            assert reason in index(client)[str(number)][1]
            assert version(client) == "1"
        model.registry.promote(NAME, 2)
        eventually(lambda: version(client) == "2")
        assert set(index(client)) == {"1", "2"}
    kept = {path.name for path in (model.folder / "cache" / "models" / NAME).glob("*/*")}
    assert len(kept) == 2
    assert all(len(name) == 64 for name in kept)
    assert not list(model.folder.rglob("evil"))
