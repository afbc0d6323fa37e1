"""The admin API: what models.py does, for who has the key, and written down; and the webhook."""

from __future__ import annotations

import time

import pytest
from mlflow.entities.webhook import Webhook, WebhookAction, WebhookEntity, WebhookEvent
from mlflow.webhooks import delivery

from serving.signature import ID, SIGNATURE, TIMESTAMP, VARIABLE
from tests.followed_model import (
    ADMIN_KEY,
    NAME,
    FollowedModel,
    events,
    version,
    versions,
)
from tests.running_server import eventually

SECRET = "as the bell of the door"


@pytest.fixture(scope="module")
def model(tmp_path_factory, empty_registry):
    return FollowedModel.create(tmp_path_factory.mktemp("model"), empty_registry, versions=2)


@pytest.fixture(scope="module")
def server(model):
    """Looks at the registry once an hour: what it does sooner it does because it was told."""
    arguments = ("--poll-seconds", "3600")
    with model.serve(*arguments, admin=True, environment={VARIABLE: SECRET}) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        client.headers["X-API-Key"] = ADMIN_KEY
        yield client


def post(client, action: str, **body):
    return client.post(f"/admin/models/{NAME}/{action}", json=body)


def test_changes_are_made_to_the_registry_and_take_effect_at_once(client, model, server):
    answer = post(client, "promote", version=2)
    assert answer.status_code == 200
    assert answer.json()["to"] == {"champion": 2, "split": None}
    eventually(lambda: version(client) == "2", seconds=10)
    assert post(client, "split", shares={"1": 40, "2": 60}).status_code == 200
    eventually(lambda: len(versions(client, range(30))) == 2, seconds=10)
    assert post(client, "rollback").json()["to"] == {"champion": 2, "split": None}
    eventually(lambda: set(versions(client, range(30))) == {"2"}, seconds=10)

    assert model.registry.routing(NAME).champion == 2
    assert {event.who for event in model.registry.history(NAME)[-3:]} == {"key:boss"}
    assert [e["action"] for e in events(server, "audit")][-3:] == ["promote", "split", "rollback"]
    assert {e["principal"] for e in events(server, "audit")} == {"boss"}
    assert ADMIN_KEY not in server.log


def test_a_dry_run_changes_nothing(client, model):
    before = model.registry.routing(NAME)
    answer = post(client, "promote", version=1, dry_run=True).json()
    assert (answer["dry_run"], answer["to"]["champion"]) == (True, 1)
    assert model.registry.routing(NAME) == before


def test_a_rollback_of_what_the_guardrail_took_back_is_409(client, model):
    post(client, "promote", version=1)
    post(client, "split", shares={"1": 50, "2": 50})
    model.registry.withdraw(NAME, 2)
    answer = post(client, "rollback")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert "promote" in answer.json()["error"]["remedy"]
    assert model.registry.routing(NAME).champion == 1


def test_models_versions_and_history_can_be_read(client):
    [entry] = client.get("/admin/models").json()["models"]
    assert (entry["name"], entry["versions"]) == (NAME, [1, 2])
    found = client.get(f"/admin/models/{NAME}").json()["versions"]
    assert [version["number"] for version in found] == [1, 2]
    assert client.get(f"/admin/models/{NAME}/versions/candidate").json()["number"] == 2
    history = client.get(f"/admin/models/{NAME}/history").json()["history"]
    assert history[0]["action"] == "register"


@pytest.mark.parametrize(
    ("action", "body", "status", "field"),
    [
        ("promote", {}, 400, "version"),
        ("promote", {"version": "two"}, 400, "version"),
        ("promote", {"version": "02"}, 400, "version"),
        ("promote", {"version": "2.0"}, 400, "version"),
        ("promote", {"version": 2.0}, 400, "version"),
        ("promote", {"version": " 2"}, 400, "version"),
        ("promote", {"version": "candidate"}, 400, "version"),
        ("promote", {"version": "9" * 5000}, 400, "version"),
        ("promote", {"version": "\u0662"}, 400, "version"),
        ("promote", {"version": 10**30}, 400, "version"),
        ("promote", {"version": True}, 400, "version"),
        ("promote", {"version": 9}, 404, "version"),
        ("promote", {"version": 1, "force": True}, 400, "force"),
        ("split", {"shares": {"1": 50}}, 400, "shares"),
        ("split", {"shares": {"1": 99.999, "2": 0.001}}, 400, "shares.2"),
        ("split", {"shares": {"1": "half"}}, 400, "shares.1"),
        ("split", {"shares": {"one": 100}}, 400, "shares.one"),
        ("split", {"shares": {"1": 50, "01": 50}}, 400, "shares.01"),
        ("rollback", {"dry_run": "yes"}, 400, "dry_run"),
        ("ramp", {"version": 0}, 400, "version"),
        ("shadow", {}, 400, "version"),
        ("shadow", {"version": 1, "percent": True}, 400, "percent"),
        ("shadow", {"version": None, "percent": 5}, 400, "percent"),
        ("shadow", {"version": 1, "percent": 0}, 400, "percent"),
        ("shadow", {"version": 1, "percent": 1e-9}, 400, "percent"),
        ("shadow", {"version": 9}, 404, "version"),
    ],
)
def test_a_wrong_request_is_told_its_field(client, action, body, status, field):
    answer = post(client, action, **body)
    assert answer.status_code == status
    assert answer.json()["error"]["field"] == field
    assert len(answer.content) < 500
    if field == "percent":
        assert answer.json()["error"]["remedy"]


@pytest.mark.parametrize("version", ["02", "2.0", "%202", "v2", "9" * 5000])
def test_a_version_in_a_path_is_a_number_or_an_alias(client, version):
    answer = client.get(f"/admin/models/{NAME}/versions/{version}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "version")
    assert "aliases candidate, champion" in answer.json()["error"]["remedy"]
    assert len(answer.content) < 500


@pytest.mark.parametrize("action", ["promote", "ramp", "shadow"])
def test_a_version_that_is_not_named_is_said_to_be_missing(client, action):
    assert "version is missing" in post(client, action).json()["error"]["message"]


def test_a_field_that_is_given_twice_changes_nothing(client):
    before = client.get(f"/admin/models/{NAME}").json()
    answer = client.post(f"/admin/models/{NAME}/promote", content=b'{"version": 1, "version": 2}')
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "version")
    assert client.get(f"/admin/models/{NAME}").json() == before


def test_what_is_thought_of_challengers_can_be_read(client):
    post(client, "promote", version=1)
    post(client, "ramp", version=2)
    path = f"/admin/models/{NAME}/challengers"
    eventually(lambda: bool(client.get(path).json()["challengers"]))
    assert client.get(path).json()["guardrail"] == "rollback"
    [found] = client.get(path).json()["challengers"]
    assert (found["version"], found["percent"], found["verdict"]) == ("2", 1.0, "hold")
    assert "of 20 batches" in found["reason"]
    assert post(client, "rollback").json()["to"]["champion"] == 1
    assert client.get("/admin/models/nothing/challengers").status_code == 404


def test_a_model_that_is_not_registered_is_404(client):
    answer = client.get("/admin/models/nothing/history")
    assert answer.status_code == 404
    assert answer.json()["error"]["remedy"] == f"its models are {NAME}"
    for name in ("tab%09name", "%20", f"{NAME}%0A"):
        answer = client.post(f"/admin/models/{name}/promote", json={"version": 1})
        assert answer.status_code == 404
        assert "can be asked for" in answer.json()["error"]["message"]


def test_without_a_key_of_the_scope_nothing_is_told(server):
    with server.client() as client:
        assert client.get("/admin/models").status_code == 401
        assert post(client, "promote", version=1).status_code == 401


def test_a_shadow_is_begun_and_ended(client, model):
    post(client, "promote", version=1)
    answer = post(client, "shadow", version=2, percent=10).json()
    assert answer["to"]["shadow"] == {"version": 2, "percent": 10.0}
    assert model.registry.routing(NAME).shadow is not None
    assert "shadow" not in post(client, "shadow", version=None).json()["to"]
    assert model.registry.routing(NAME).shadow is None


def test_a_ramp_begins_with_its_first_stage(client, model):
    post(client, "promote", version=1)
    answer = post(client, "ramp", version=2).json()
    assert answer["to"] == {"champion": 1, "split": {"1": 99.0, "2": 1.0}, "ramp": 2}
    post(client, "promote", version=1)
    assert model.registry.routing(NAME).ramp is None


@pytest.fixture
def ring(server, monkeypatch):
    """MLflow's own way to tell of a change."""
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    event = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)

    def send(secret: str | None):
        hook = Webhook(
            webhook_id="1", name="bell", url=f"{server.url}/webhook", events=[event],
            creation_timestamp=0, last_updated_timestamp=0, secret=secret,
        )  # fmt: skip
        return delivery.test_webhook(hook)

    return send


def test_a_webhook_that_mlflow_signs_makes_the_server_look_at_once(ring, client, model):
    other = 3 - model.registry.routing(NAME).champion
    model.registry.promote(NAME, other)
    time.sleep(1)
    assert version(client) != str(other)
    began = time.monotonic()
    found = ring(SECRET)
    assert (found.response_status, '"accepted"' in found.response_body) == (200, True)
    eventually(lambda: version(client) == str(other), seconds=10)
    print(f"followed {time.monotonic() - began:.2f} s after the webhook")


@pytest.mark.parametrize("secret", [None, "another secret of that length"])
def test_a_webhook_without_the_right_signature_is_401(ring, secret):
    found = ring(secret)
    assert found.response_status == 401
    assert "bad_signature" in found.response_body


def test_a_webhook_needs_no_api_key_and_takes_none_instead(server, client):
    headers = {ID: "1", TIMESTAMP: str(int(time.time())), SIGNATURE: "v1,é".encode()}
    assert client.post("/webhook", headers=headers, content=b"{}").status_code == 401
    with server.client() as nobody:
        assert nobody.post("/webhook", content=b"x" * 2**21).status_code == 401
        assert nobody.post("/webhook", headers=headers, content=b"x" * 2**17).status_code == 413
        assert nobody.get("/webhook").status_code == 405
    assert SECRET not in server.log
