"""Predictions over HTTP are those of the model in process, bit for bit."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bundle.model import Model
from tests.running_server import eventually, running_server
from tests.served_bundles import POISON
from tests.tiny_bundle import encode

if TYPE_CHECKING:
    import httpx

RNG = np.random.default_rng(3)
PICTURES = [
    encode(RNG.integers(0, 256, (side, side + 3), dtype=np.uint8)) for side in (8, 9, 30, 5)
]
TEXTS = ["the film was good", "bad", "unheard-of words: größe 👍", "plot " * 100]


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    with running_server(
        *("--model", str(bundles / "image")),
        *("--model", str(bundles / "text")),
        *("--model", f"twice={bundles / 'double.onnx'}"),
        *("--model", str(bundles / "log.onnx")),
        *("--threads", "1", "--api-processes", "2"),
        folder=tmp_path_factory.mktemp("server"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def models(bundles):
    options = {"provider": "cpu", "threads": 1, "max_batch_size": 32}
    return {
        "shades": Model.load(bundles / "image", **options),
        "moods": Model.load(bundles / "text", **options),
        "twice": Model.load(bundles / "double.onnx", **options),
    }


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("picture", PICTURES)
def test_an_image_in_json_is_answered_as_in_process(client, models, picture):
    response = client.post("/predict", json={"image": b64(picture), "model": "shades"})
    assert response.status_code == 200
    expected = models["shades"].predict({"image": picture})
    version = models["shades"].version
    document = response.json()
    identity = document.pop("id")
    assert document == {"model": "shades", "version": version, **expected}
    assert identity == response.headers["x-request-id"]
    assert response.headers["x-model-version"] == version
    assert response.headers["x-variant"] == "fp32"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_json_is_answered_as_in_process(client, models, text):
    response = client.post("/predict", json={"text": text, "model": "moods"})
    assert response.json()["prediction"] == models["moods"].predict({"text": text})["prediction"]


def test_tensors_in_json_are_answered_with_tensors(client, models):
    values = [0.1, -1e-40, 3.4e38 / 2, 16777217]
    response = client.post("/predict", json={"inputs": {"x": values}, "model": "twice"})
    assert (
        response.json()["outputs"] == models["twice"].predict({"inputs": {"x": values}})["outputs"]
    )


def test_a_form_a_raw_body_and_a_data_uri_are_answered_like_json(client):
    picture = PICTURES[0]
    expected = client.post("/predict", json={"image": b64(picture)}).json()["prediction"]
    uri = f"data:image/png;base64,{b64(picture)}"
    answers = [
        client.post("/predict", json={"image": uri}),
        client.post("/predict", files={"image": ("p.png", picture)}, data={"model": "shades"}),
        client.post("/predict", data={"image": b64(picture)}, files={"model": (None, "shades")}),
        client.post("/predict", content=picture, headers={"Content-Type": "image/png"}),
        client.post("/predict", content=picture, headers={"Content-Type": "IMAGE/JPEG"}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert all(answer.json()["prediction"] == expected for answer in answers)


def test_a_raw_text_is_answered_like_json_and_takes_options_from_the_query(client):
    expected = client.post("/predict", json={"text": TEXTS[2], "model": "moods"}).json()
    for charset, encoding in (("", "utf-8"), ("; charset=UTF-8", "utf-8")):
        response = client.post(
            "/predict?model=moods&id=q",
            content=TEXTS[2].encode(encoding),
            headers={"Content-Type": f"text/plain{charset}"},
        )
        assert response.json()["prediction"] == expected["prediction"]
        assert response.json()["id"] == "q"


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_a_batch_is_answered_bit_for_bit_as_one_batch_of_the_engine(client, models, count):
    texts = [TEXTS[index % len(TEXTS)] for index in range(count)]
    response = client.post(
        "/predict/batch", json={"instances": [{"text": text} for text in texts], "model": "moods"}
    )
    expected = models["moods"].predict_batch([{"text": text} for text in texts])
    assert response.json()["predictions"] == [answer["prediction"] for answer in expected]


def test_a_batch_of_tensors_keeps_every_bit(client, models):
    rows = RNG.normal(0, 1, (32, 4)).astype(np.float32)
    response = client.post(
        "/predict/batch",
        json={"instances": [{"inputs": {"x": row.tolist()}} for row in rows], "model": "twice"},
    )
    found = [answer["outputs"]["y"] for answer in response.json()["predictions"]]
    expected = models["twice"].engine.predict_batch({"x": rows})["y"]
    assert np.array(found, np.float32).tobytes() == expected.tobytes()


def test_a_batch_larger_than_the_engines_is_answered_in_order(client):
    rows = [[float(index)] * 4 for index in range(100)]
    response = client.post(
        "/predict/batch", json={"instances": [{"inputs": {"x": r}} for r in rows], "model": "twice"}
    )
    found = [answer["outputs"]["y"][0] for answer in response.json()["predictions"]]
    assert found == [2.0 * index for index in range(100)]


def test_a_batch_runs_as_one_batch_of_the_engine(server, client):
    before = server.metric("trainyard_batch_size_count", model="twice")
    sizes = server.metric("trainyard_batch_size_sum", model="twice")
    instances = [{"inputs": {"x": [1, 2, 3, 4]}}] * 32
    client.post("/predict/batch", json={"instances": instances, "model": "twice"})
    assert server.metric("trainyard_batch_size_count", model="twice") == before + 1
    assert server.metric("trainyard_batch_size_sum", model="twice") == sizes + 32


def test_one_bad_instance_refuses_the_request_and_is_named(client):
    instances = [{"text": "good"}, {"text": "bad"}, {"text": " "}]
    response = client.post("/predict/batch", json={"instances": instances, "model": "moods"})
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "instances[2].text"


def test_an_instance_that_only_the_engine_can_refuse_is_named(client):
    good = {"inputs": {"input_ids": [4], "attention_mask": [1]}}
    bad = {"inputs": {"input_ids": [POISON], "attention_mask": [1]}}
    response = client.post(
        "/predict/batch", json={"instances": [good, bad, good], "model": "moods"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_input"
    assert response.json()["error"]["field"].startswith("instances[1].inputs")


@pytest.mark.parametrize(("rows", "named"), [([4, POISON, 4], True), ([POISON], False)])
def test_a_row_that_only_the_engine_can_refuse_is_named_where_there_are_several(
    client, rows, named
):
    entries = [
        {"name": name, "datatype": "INT64", "shape": [len(rows), 1], "data": data}
        for name, data in (("input_ids", rows), ("attention_mask", [1] * len(rows)))
    ]
    response = client.post("/v2/models/moods/infer", json={"inputs": entries})
    assert response.status_code == 400
    assert response.json()["error"].startswith("row 1: ") == named


@pytest.mark.parametrize("token", [-1, -(2**63), 11, 2**63 - 1])
def test_a_token_that_the_tokenizer_does_not_know_is_named(client, token):
    sample = {"inputs": {"input_ids": [4, token], "attention_mask": [1, 1]}, "model": "moods"}
    response = client.post("/predict", json=sample)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")
    assert response.json()["error"]["field"] == "inputs.input_ids"
    assert f"has {token}, which is no token" in response.json()["error"]["message"]
    entries = [
        {"name": name, "datatype": "INT64", "shape": [1, 2], "data": data}
        for name, data in (("input_ids", [4, token]), ("attention_mask", [1, 1]))
    ]
    response = client.post("/v2/models/moods/infer", json={"inputs": entries})
    assert response.status_code == 400
    assert "which is no token" in response.json()["error"]


def test_an_answer_that_is_not_finite_is_refused_and_named(client):
    instances = [{"inputs": {"x": [1.0, value]}} for value in (1.0, 0.0)]
    response = client.post("/predict/batch", json={"instances": instances, "model": "log"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "no_finite_answer")
    assert response.json()["error"]["field"] == "instances[1].inputs"


def test_the_first_model_answers_a_request_that_names_none(client):
    assert client.post("/predict", json={"image": b64(PICTURES[0])}).json()["model"] == "shades"


def test_a_version_is_taken_by_its_name(client, models):
    version = models["moods"].version
    good = client.post("/predict", json={"text": "good", "model": "moods", "version": version})
    assert good.status_code == 200
    bad = client.post("/predict", json={"text": "good", "model": "moods", "version": 3})
    assert (bad.status_code, bad.json()["error"]["code"]) == (404, "version_not_found")
    unknown = client.post("/predict", json={"text": "good", "model": "nope"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "moods" in unknown.json()["error"]["remedy"]


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/predict", '{"version": "1", "version": "2", "text": "good"}', "application/json"),
        ("/predict/batch", '{"key": "a", "instances": [], "key": "b"}', "application/json"),
        ("/predict", '{"inputs": {"key": [1], "key": [2]}}', "application/json"),
        ("/predict?version=2&version=1", "good", "text/plain"),
    ],
)
def test_a_field_is_given_once(client, path, content, kind):
    response = client.post(path, content=content, headers={"Content-Type": kind})
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message in ("version is given twice", "key is given twice", "inputs.key is given twice")


def test_names_of_fields_may_occur_in_what_is_sent(client):
    text = 'good "version" of a "version"'
    response = client.post("/predict", json={"text": text, "model": "moods"})
    assert response.status_code == 200


def test_request_ids_come_back_on_every_answer(client):
    sent = {"X-Request-Id": "my-id-1"}
    answers: list[httpx.Response] = [
        client.post("/predict", json={"text": "good", "model": "moods"}, headers=sent),
        client.post("/predict", json={}, headers=sent),
        client.get("/health", headers=sent),
        client.get("/metrics", headers=sent),
        client.get("/nope", headers=sent),
        client.put("/predict", headers=sent),
    ]
    assert [answer.headers["x-request-id"] for answer in answers] == ["my-id-1"] * 6
    assert answers[0].json()["id"] == "my-id-1"
    replaced = client.get("/health", headers={"X-Request-Id": "no good"}).headers["x-request-id"]
    assert len(replaced) == 32


def test_a_request_that_was_not_answered_in_time_has_a_line_in_the_log(server, client):
    body = {"text": "good", "model": "moods", "timeout_ms": 1e-6}
    assert client.post("/predict", json=body, headers={"X-Request-Id": "late-1"}).status_code == 504
    assert client.post("/predict", json={}, headers={"X-Request-Id": "wrong-1"}).status_code == 400
    eventually(lambda: "late-1" in server.log)
    [line] = [json.loads(line) for line in server.log.splitlines() if "late-1" in line]
    assert (line["level"], line["status"], line["error"]) == ("warning", 504, "deadline_exceeded")
    assert (line["path"], line["model"]) == ("/predict", "moods")
    assert line["decode_ms"] >= 0
    assert "wrong-1" not in server.log, "what clients do wrong is told to them, and counted"


def test_the_id_of_the_body_comes_back_even_with_an_error(client):
    for identity in ("mine", 42):
        good = client.post("/predict", json={"text": "good", "model": "moods", "id": identity})
        bad = client.post("/predict", json={"text": "", "model": "moods", "id": identity})
        assert (good.json()["id"], bad.json()["id"]) == (identity, identity)
        assert bad.status_code == 400


def test_probes_say_ready_and_list_the_models(client, models):
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json()["status"] == "ready"
    assert health.json()["models"][0] == {
        "name": "shades", "version": models["shades"].version, "variant": "fp32",
        "engine": "onnxruntime", "provider": "cpu",
    }  # fmt: skip
    assert len(health.json()["models"]) == 4
    assert client.get("/health/live").json() == {"status": "alive"}
    for probe in ("ready", "startup"):
        assert client.get(f"/health/{probe}").json() == {"status": "ready"}
    assert client.head("/health/ready").status_code == 200


def test_there_is_no_documentation_that_would_be_untrue(client):
    for path in ("/docs", "/redoc", "/info"):
        assert client.get(path).status_code == 404


def test_metrics_are_prometheus_text_with_a_count_for_every_request(server, client):
    labels = {"route": "/predict", "model": "moods"}
    before = server.metric("trainyard_requests_total", **labels, status="200")
    for _ in range(20):
        with server.client() as fresh:
            fresh.post("/predict", json={"text": "good", "model": "moods"})
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert server.metric("trainyard_requests_total", **labels, status="200") == before + 20
    for phase in ("decode", "queue", "infer", "encode"):
        count = server.metric("trainyard_phase_seconds_count", model="moods", phase=phase)
        assert count >= before + 20
    counted = server.metric("trainyard_request_seconds_count", **labels, status="200")
    assert counted == before + 20
    assert server.metric("trainyard_model_info", model="moods") == 1
