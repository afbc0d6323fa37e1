"""Properties 23, 25 and 26 over HTTP: versions can be named, split and rolled back."""

from __future__ import annotations

import math

import pytest

from serving.routing.split import Split, bucket
from tests.followed_model import NAME, SAMPLE, FollowedModel, ask, version, versions
from tests.running_server import eventually

TENSOR = {
    "name": "image", "shape": [1, 3, 6, 5], "datatype": "UINT8", "data": [100] * 90
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory, empty_registry):
    return FollowedModel.create(tmp_path_factory.mktemp("model"), empty_registry, versions=2)


@pytest.fixture(scope="module")
def server(model):
    with model.serve("--api-processes", "2") as server:
        yield server


@pytest.fixture
def client(server, model):
    """Version 1 is champion, version 2 has 30 percent."""
    model.registry.promote(NAME, 1)
    model.registry.split(NAME, {1: 70, 2: 30})
    with server.client() as client:
        eventually(lambda: len(versions(client, range(30))) == 2)
        yield client


@pytest.mark.parametrize("number", ["1", "2"])
def test_property_23_a_named_version_answers_whatever_the_split_says(client, number):
    expected = ask(client, version=number).json()["prediction"]
    for key in map(str, range(10)):
        assert version(client, version=number, key=key) == number
        assert version(client, headers={"X-Model-Version": number}, key=key) == number
        path = f"/v2/models/{NAME}/versions/{number}"
        answer = client.post(f"{path}/infer", json={"inputs": [TENSOR]}).json()
        assert answer["model_version"] == number
    assert ask(client, version=number).json()["prediction"] == expected
    assert client.get(path).json()["versions"] == ["1", "2"]


def test_property_23_a_request_that_names_two_versions_is_400(client):
    headers = {"X-Model-Version": "1"}
    picture = {**headers, "Content-Type": "image/png"}
    path = f"/v2/models/{NAME}/versions/2/infer"
    for answer in (
        ask(client, version="2", headers=headers),
        client.post("/predict?version=2", content=b"", headers=picture),
        client.post(path, json={"inputs": [TENSOR]}, headers=headers),
    ):
        assert answer.status_code == 400
        assert "names version 2, and X-Model-Version version 1" in answer.text


def test_property_23_aliases_name_versions(client):
    assert version(client, version="champion") == "1"
    assert version(client, version="challenger") == "2"
    path = f"/v2/models/{NAME}/versions/challenger/infer"
    assert client.post(path, json={"inputs": [TENSOR]}).json()["model_version"] == "2"


def test_property_23_a_version_that_is_not_served_is_404(client):
    response = ask(client, version="7")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "version_not_found"


def test_property_25_traffic_over_http_follows_the_split(client):
    keys = [f"user-{number}" for number in range(600)]

    counts = versions(client, keys)

    sigma = math.sqrt(len(keys) * 0.3 * 0.7)
    assert abs(counts["2"] - 0.3 * len(keys)) <= 3 * sigma
    health = client.get("/health").json()["models"]
    assert {m["version"]: m["percent"] for m in health} == {"1": 70.0, "2": 30.0}


def test_property_25_every_process_finds_the_version_that_is_worked_out_here(client):
    """From the name, the shares and the key alone, so that a restart changes nothing."""
    split = Split.of({1: 70, 2: 30}, champion=1)
    for key in (f"user-{number}" for number in range(100)):
        assert version(client, key=key) == split.pick(bucket(NAME, key))


def test_property_25_a_key_keeps_its_version_by_header_body_and_in_v2(client):
    for key in map(str, range(20)):
        number = version(client, key=key)
        assert version(client, headers={"X-Routing-Key": key}) == number
        assert version(client, headers={"X-Routing-Key": key}, key="another") == number
        answer = client.post(
            f"/v2/models/{NAME}/infer",
            json={"inputs": [TENSOR]},
            headers={"X-Routing-Key": key},
        )
        assert answer.json()["model_version"] == number


def test_property_25_requests_without_a_key_are_shared_out_too(client):
    answers = [client.post("/predict", json=SAMPLE).headers["X-Model-Version"] for _ in range(60)]
    assert set(answers) == {"1", "2"}


def test_property_26_a_rollback_moves_all_traffic_back(client, model, server):
    model.registry.promote(NAME, 2)
    eventually(lambda: set(versions(client, range(20))) == {"2"})

    model.registry.rollback(NAME)
    eventually(lambda: len(versions(client, range(20))) == 2)
    model.registry.rollback(NAME)
    eventually(lambda: set(versions(client, range(40))) == {"1"})

    assert set(versions(client, range(100))) == {"1"}
    assert server.metric("trainyard_route_percent", model=NAME, version="1") == 100.0
    assert server.metric("trainyard_route_percent", model=NAME, version="2") == 0.0
    assert server.metric("trainyard_requests_total", version="2", status="200") > 0
