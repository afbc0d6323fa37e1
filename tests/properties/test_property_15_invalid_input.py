"""Property 15: whatever is wrong with a request, its answer says so; it is never 422 or a 5xx."""

from __future__ import annotations

import base64
import json
import socket
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.running_server import RunningServer, running_server
from tests.served_bundles import double_onnx
from tests.tiny_bundle import encode

LIMIT = 256 * 1024
JSON = {"Content-Type": "application/json"}
PICTURE = encode(np.zeros((8, 8), np.uint8))
B64 = base64.b64encode(PICTURE).decode()


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("property-15")
    whole = folder / "whole.onnx"
    whole.write_bytes(double_onnx(kind=7))  # int64
    models = [*(bundles / name for name in ("image", "text", "double.onnx")), whole]
    with running_server(
        *(argument for model in models for argument in ("--model", str(model))),
        *("--threads", "1", "--batch-delay-ms", "0"),
        *("--max-body-bytes", str(LIMIT), "--max-batch-instances", "64"),
        folder=folder,
    ) as server:
        yield server


@pytest.fixture
def client(client):
    yield client
    assert client.get("/health").status_code == 200


def check(response, status: int, code: str, field: str | None = None) -> dict:
    document = response.json()
    assert (response.status_code, document["error"]["code"]) == (status, code), document
    assert document["error"].get("field") == field
    assert document["error"]["message"]
    assert document.keys() == {"error", "id"}
    assert document["error"].keys() <= {"code", "message", "field", "remedy"}
    assert response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    return document["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"text": NaN}',
        b'{"text": "a" "b"}',
        b'{"text": "\\ud800"}',
        b'{"text": "\xff\xfe"}',
        b'{"inputs": {"x": [1e999, 0, 0, 0]}, "model": "double"}',
        b'{"inputs": {"x": [NaN, 0, 0, 0]}, "model": "double"}',
        b'{"inputs": {"x": [Infinity, 0, 0, 0]}, "model": "double"}',
        b'{"inputs": ' + b"[" * 100_000,
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_property_15_malformed_json_is_400(client, path, body):
    check(client.post(path, content=body, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b"true", b'"text"', b"[" * 20 + b"]" * 20])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_property_15_json_that_is_no_object_is_400(client, path, body):
    check(client.post(path, content=body, headers=JSON), 400, "invalid_request")


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        ({}, "missing_field", None),
        ({"image": None}, "missing_field", None),
        ({"image": B64, "text": "both"}, "invalid_request", "text"),
        ({"image": 1}, "invalid_field", "image"),
        ({"image": [B64]}, "invalid_field", "image"),
        ({"image": "@@@@"}, "invalid_field", "image"),
        ({"image": B64[:-2]}, "invalid_field", "image"),
        ({"image": "data:image/png,plain"}, "invalid_field", "image"),
        ({"image": ""}, "invalid_input", "image"),
        ({"image": base64.b64encode(b"no picture").decode()}, "invalid_input", "image"),
        ({"image": base64.b64encode(PICTURE[:45]).decode()}, "invalid_input", "image"),
        ({"image": "AAAA", "model": "moods"}, "invalid_input", "image"),
        ({"text": "x"}, "invalid_input", "text"),
        ({"text": "", "model": "moods"}, "invalid_input", "text"),
        ({"text": " \t\n", "model": "moods"}, "invalid_input", "text"),
        ({"text": ["a"], "model": "moods"}, "invalid_field", "text"),
        ({"img": B64}, "unknown_field", "img"),
        ({"text": "x", "model": 3}, "invalid_field", "model"),
        ({"text": "x", "model": ""}, "invalid_field", "model"),
        ({"text": "x", "version": []}, "invalid_field", "version"),
        ({"text": "x", "timeout_ms": 0}, "invalid_field", "timeout_ms"),
        ({"text": "x", "timeout_ms": "1"}, "invalid_field", "timeout_ms"),
        ({"text": "x", "priority": 0}, "invalid_field", "priority"),
        ({"text": "x", "key": {}}, "invalid_field", "key"),
        ({"text": "x", "id": {}}, "invalid_field", "id"),
    ],
)
def test_property_15_a_wrong_field_is_400_and_named(client, document, code, field):
    check(client.post("/predict", json=document), 400, code, field)


@pytest.mark.parametrize(
    ("model", "inputs", "field"),
    [
        ("double", {}, "inputs.x"),
        ("double", {"y": [1]}, "inputs"),
        ("double", {"x": [1, 2, 3]}, "inputs.x"),
        ("double", {"x": [1, 2, 3, 4, 5]}, "inputs.x"),
        ("double", {"x": [[1, 2, 3, 4]]}, "inputs.x"),
        ("double", {"x": [[1, 2], [3]]}, "inputs.x"),
        ("double", {"x": [1, [2], 3, 4]}, "inputs.x"),
        ("double", {"x": []}, "inputs.x"),
        ("double", {"x": 1}, "inputs.x"),
        ("double", {"x": None}, "inputs.x"),
        ("double", {"x": "1234"}, "inputs.x"),
        ("double", {"x": ["1", "2", "3", "4"]}, "inputs.x"),
        ("double", {"x": [True, False, 1, 2]}, "inputs.x"),
        ("double", {"x": [1e39, 0, 0, 0]}, "inputs.x"),
        ("double", {"x": {"0": 1}}, "inputs.x"),
        ("whole", {"x": [1.0, 2, 3, 4]}, "inputs.x"),
        ("whole", {"x": [2**63, 0, 0, 0]}, "inputs.x"),
        ("whole", {"x": [10**30, 0, 0, 0]}, "inputs.x"),
        ("whole", {"x": [-(2**63) - 1, 0, 0, 0]}, "inputs.x"),
        ("whole", {"x": [True, 1, 2, 3]}, "inputs.x"),
        ("moods", {"input_ids": [4, 5]}, "inputs.attention_mask"),
        ("moods", {"input_ids": [], "attention_mask": []}, "inputs.input_ids"),
        ("shades", {"image": [[[0] * 8] * 7]}, "inputs.image"),
        ("shades", {"image": [[[256] * 8] * 8]}, "inputs.image"),
        ("shades", {"image": [[[-1] * 8] * 8]}, "inputs.image"),
    ],
)
def test_property_15_a_wrong_tensor_is_400_and_named(client, model, inputs, field):
    response = client.post("/predict", json={"inputs": inputs, "model": model})
    check(response, 400, "invalid_input", field)


def test_property_15_what_only_the_model_can_refuse_is_400(client):
    for inputs in (
        {"input_ids": [4, 5, 6], "attention_mask": [1, 1]},
        {"input_ids": [10**9], "attention_mask": [1]},
        {"input_ids": [-(10**9)], "attention_mask": [1]},
    ):
        response = client.post("/predict", json={"inputs": inputs, "model": "moods"})
        assert response.status_code == 400, response.text


def test_property_15_a_tensor_that_does_not_fit_another_is_named_once(client):
    inputs = {"input_ids": [4, 5, 6], "attention_mask": [1]}
    response = client.post("/predict", json={"inputs": inputs, "model": "moods"})
    check(response, 400, "invalid_input", "inputs.attention_mask")
    document = {"instances": [{"inputs": inputs}], "model": "moods"}
    response = client.post("/predict/batch", json=document)
    check(response, 400, "invalid_input", "instances[0].inputs.attention_mask")


@pytest.mark.parametrize(
    ("document", "status", "code", "field"),
    [
        ({}, 400, "missing_field", "instances"),
        ({"text": "x"}, 400, "unknown_field", "text"),
        ({"instances": []}, 400, "invalid_field", "instances"),
        ({"instances": "x"}, 400, "invalid_field", "instances"),
        ({"instances": None}, 400, "invalid_field", "instances"),
        ({"instances": [3]}, 400, "invalid_field", "instances[0]"),
        ({"instances": [{}]}, 400, "missing_field", "instances[0]"),
        (
            {"instances": [{"image": B64}, {"image": "@"}]},
            400,
            "invalid_field",
            "instances[1].image",
        ),
        (
            {"instances": [{"image": B64}, {"image": ""}]},
            400,
            "invalid_input",
            "instances[1].image",
        ),
        ({"instances": [{"image": B64, "id": 1}]}, 400, "unknown_field", "instances[0].id"),
        ({"instances": [{"image": B64}] * 65}, 413, "too_many_instances", "instances"),
    ],
)
def test_property_15_a_wrong_batch_is_refused_and_the_instance_named(
    client, document, status, code, field
):
    check(client.post("/predict/batch", json=document), status, code, field)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"x=1", "application/x-www-form-urlencoded"),
        (b"{}", "application/xml"),
        (b"{}", "application/octet-stream"),
        (b"{}", "nonsense"),
        (b"{}", ";;;"),
        (b"{}", "application/json; charset=utf-16"),
        (b"{}", "application/json; charset=latin-1"),
        (PICTURE, "image/gif"),
        (b"hi", "text/html"),
        (b"hi", "text/plain; charset=klingon"),
    ],
)
def test_property_15_another_media_type_is_415(client, content, kind):
    error = check(
        client.post("/predict", content=content, headers={"Content-Type": kind}),
        415,
        "unsupported_media_type",
    )
    assert error["remedy"]


def test_property_15_a_missing_media_type_is_415(client):
    check(client.post("/predict", content=b"{}"), 415, "unsupported_media_type")
    check(client.post("/predict/batch", content=b"{}"), 415, "unsupported_media_type")
    form = client.post("/predict/batch", files={"image": PICTURE})
    check(form, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["br", "zstd", "identity, gzip"])
def test_property_15_a_body_in_an_encoding_that_is_not_read_is_415(client, encoding):
    headers = {**JSON, "Content-Encoding": encoding}
    response = client.post("/predict", content=b"{}", headers=headers)
    check(response, 415, "unsupported_media_type")


def test_property_15_a_compressed_body_that_grows_over_the_limit_is_413(client):
    bomb = zlib.compress(bytes(10**8), 9)
    headers = {**JSON, "Content-Encoding": "deflate"}
    check(client.post("/predict", content=bomb, headers=headers), 413, "body_too_large")


def test_property_15_a_body_that_is_not_compressed_as_it_says_is_400(client):
    headers = {**JSON, "Content-Encoding": "gzip"}
    check(client.post("/predict", content=b"{}", headers=headers), 400, "malformed_body")


@pytest.mark.parametrize(
    "kind",
    ["application/json; Charset=UTF-8", "APPLICATION/JSON", 'application/json; charset="utf-8"'],
)
def test_property_15_media_types_in_other_spellings_are_read(client, kind):
    response = client.post(
        "/predict", content=json.dumps({"image": B64}), headers={"Content-Type": kind}
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "code", "field"),
    [
        (b"", "image/png", "invalid_input", "image"),
        (b"no picture", "image/jpeg", "invalid_input", "image"),
        (PICTURE[:45], "image/png", "invalid_input", "image"),
        (b"", "text/plain", "invalid_input", "text"),
        (b"\xff\xfe", "text/plain", "invalid_input", "text"),
        (b"gr\xc3", "text/plain; charset=utf-8", "invalid_input", "text"),
        (b"gr\xc3", "text/plain; charset=ascii", "invalid_input", "text"),
    ],
)
def test_property_15_a_wrong_raw_body_is_400(client, content, kind, code, field):
    model = "moods" if kind.startswith("text") else "shades"
    response = client.post(
        f"/predict?model={model}", content=content, headers={"Content-Type": kind}
    )
    check(response, 400, code, field)


def test_property_15_a_wrong_query_is_400(client):
    raw = {"Content-Type": "image/png"}
    for query, code, field in (
        ("modle=x", "unknown_field", "the query.modle"),
        ("timeout_ms=soon", "invalid_field", "timeout_ms"),
        ("priority=1.5", "invalid_field", "priority"),
    ):
        check(client.post(f"/predict?{query}", content=PICTURE, headers=raw), 400, code, field)
    overlooked = client.post("/predict?model=moods", json={"text": "good"})
    check(overlooked, 400, "invalid_request", "model")


def test_property_15_a_broken_form_is_400(client):
    kind = {"Content-Type": "multipart/form-data; boundary=line"}
    for body in (b"", b"--line", b"--line\r\n\r\n", b"--line--", b"x" * 1000):
        response = client.post("/predict", content=body, headers=kind)
        assert response.status_code == 400, response.text
    no_boundary = {"Content-Type": "multipart/form-data"}
    check(client.post("/predict", content=b"x", headers=no_boundary), 400, "malformed_form")
    check(client.post("/predict", files={"other": b"x"}), 400, "unknown_field", "other")
    check(client.post("/predict", files={"model": b"x"}), 400, "missing_field")
    check(
        client.post("/predict", files={"image": PICTURE, "text": b"x"}),
        400,
        "invalid_request",
        "text",
    )


def test_property_15_an_unknown_model_or_version_is_404(client):
    check(
        client.post("/predict", json={"text": "x", "model": "m"}), 404, "model_not_found", "model"
    )
    check(
        client.post("/predict", json={"image": B64, "version": "9"}),
        404,
        "version_not_found",
        "version",
    )


def test_property_15_another_path_is_404_and_another_method_405(client):
    for path in ("/predict/", "/predict/x", "/Predict", "/predict//", "/health/x", "/%00"):
        check(client.post(path, json={}), 404, "not_found")
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = client.request(method, "/predict")
        check(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "POST"
    for path in ("/", "/health"):
        check(client.post(path), 405, "method_not_allowed")
    head = client.head("/predict")
    assert (head.status_code, head.content) == (405, b"")


@pytest.mark.parametrize("extra", [1, 128, LIMIT])
def test_property_15_a_body_over_the_limit_is_413(client, extra):
    room = LIMIT - len('{"text": ""}')
    fits = '{"text": "' + "x" * room + '"}'
    assert client.post("/predict", content=fits, headers=JSON).status_code == 400
    over = '{"text": "' + "x" * (room + extra) + '"}'
    check(client.post("/predict", content=over, headers=JSON), 413, "body_too_large")
    chunks = (over[start : start + 10_000].encode() for start in range(0, len(over), 10_000))
    check(client.post("/predict", content=chunks, headers=JSON), 413, "body_too_large")


def test_property_15_an_image_bomb_is_refused_before_it_is_decoded(client):
    def bomb(width: int, height: int) -> bytes:
        def chunk(kind: bytes, data: bytes) -> bytes:
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        rows = zlib.compress(bytes(10**6), 9)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)

    for size in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 0)):
        response = client.post(
            "/predict", content=bomb(*size), headers={"Content-Type": "image/png"}
        )
        check(response, 400, "invalid_input", "image")


def raw(server: RunningServer, request: bytes) -> bytes:
    """What the server says to these bytes."""
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_property_15_broken_http_is_refused_and_the_server_lives(server, client, request_bytes):
    answer = raw(server, request_bytes)
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]


def test_property_15_a_terabyte_that_is_only_announced_is_413_at_once(server, client):
    answer = raw(
        server,
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1099511627776\r\n\r\n{",
    )
    assert answer == b"" or b" 413 " in answer.split(b"\r\n")[0]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    ["image", "text", "inputs", "model", "version", "timeout_ms", "priority", "key", "id",
     "instances", "x"]
)  # fmt: skip
MODELS = st.sampled_from(["shades", "moods", "double", "whole"])


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(document=st.dictionaries(FIELDS, JSON_VALUES, max_size=5), model=MODELS, batch=st.booleans())
@example(document={"inputs": {"x": [5e-324] * 4}}, model="double", batch=False)
def test_property_15_no_json_is_answered_with_a_server_error(client, document, model, batch):
    body = json.dumps({"model": model, **document})
    path = "/predict/batch" if batch else "/predict"
    response = client.post(path, content=body, headers=JSON)
    assert response.status_code in (200, 400, 404, 413), response.text
    assert response.json()["id"] is not None


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(
        ["application/json", "image/png", "text/plain", "multipart/form-data; boundary=x", "a/b"]
    ),
)
def test_property_15_no_bytes_are_answered_with_a_server_error(client, body, kind):
    response = client.post("/predict?model=moods", content=body, headers={"Content-Type": kind})
    assert response.status_code in (200, 400, 404, 415), response.text
    assert response.json()["id"] is not None
