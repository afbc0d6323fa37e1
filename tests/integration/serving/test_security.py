"""Keys, and clients that mean no good: slow, endless or malformed requests."""

from __future__ import annotations

import hashlib
import json
import socket
import time

import pytest

from serving.api import KEEP_ALIVE_SECONDS
from tests.running_server import run_until_exit, running_server
from tests.scrape import Scrape

PREDICT_KEY = "a-key-that-may-predict"
ADMIN_KEY = "a-key-that-may-do-it-all"
HEAD_SECONDS = 1
BODY = {"inputs": {"x": [1, 2, 3, 4]}}


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    digest = hashlib.sha256(ADMIN_KEY.encode()).hexdigest()
    (folder / "keys.toml").write_text(
        f'[[key]]\nname = "boss"\nsha256 = "{digest}"\nscopes = ["predict", "metrics", "admin"]\n'
    )
    with running_server(
        *("--model", str(bundles / "double.onnx"), "--threads", "1"),
        *("--head-timeout-ms", str(1000 * HEAD_SECONDS)),
        *("--api-keys-file", str(folder / "keys.toml")),
        folder=folder,
        environment={"TRAINYARD_API_KEYS": f"shop:predict:{PREDICT_KEY}"},
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthorized"),
        ({"Authorization": "Bearer nonsense"}, 401, "unauthorized"),
        ({"Authorization": f"Basic {PREDICT_KEY}"}, 401, "unauthorized"),
        ({"X-API-Key": ""}, 401, "unauthorized"),
        ({"X-API-Key": PREDICT_KEY + " x"}, 401, "unauthorized"),
    ],
)
def test_a_request_without_a_valid_key_is_401(client, headers, status, code):
    response = client.post("/predict", json=BODY, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert client.post("/v2/models/double/infer", json={}, headers=headers).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {PREDICT_KEY}"}, {"authorization": f"bearer {ADMIN_KEY}"},
     {"X-API-Key": PREDICT_KEY}],
)  # fmt: skip
def test_a_request_with_a_key_of_the_scope_is_answered(client, headers):
    assert client.post("/predict", json=BODY, headers=headers).status_code == 200
    assert client.get("/v2/models/double", headers=headers).status_code == 200


def test_a_key_without_the_scope_is_403(client):
    headers = {"X-API-Key": PREDICT_KEY}
    response = client.get("/metrics", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert client.get("/metrics", headers={"X-API-Key": ADMIN_KEY}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/v2/health/ready"])
def test_probes_need_no_key(client, path):
    assert client.get(path).status_code == 200


def test_the_log_and_the_settings_hold_no_key(server):
    assert PREDICT_KEY not in server.log
    assert ADMIN_KEY not in server.log


def test_without_keys_nobody_administrates(bundles, tmp_path):
    arguments = ("--model", str(bundles / "double.onnx"), "--threads", "1")
    with running_server(*arguments, folder=tmp_path) as server, server.client() as client:
        assert client.get("/metrics").status_code == 200
        assert client.post("/v2/repository/models/double/unload").status_code == 403


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("nonsense", "not TOML"),
        ("", r"\[\[key\]\]"),
        ('[[key]]\nscopes = ["predict"]\nkey = "0123456789abcdef"', "no name"),
        ('[[key]]\nname = "a"\nscopes = ["fly"]\nkey = "0123456789abcdef"', "fly"),
        ('[[key]]\nname = "a"\nscopes = ["predict"]\nkey = "short"', "16 characters"),
        ('[[key]]\nname = "a"\nscopes = ["predict"]', "key or sha256"),
        ('[[key]]\nname = "a"\nscopes = ["predict"]\nsha256 = "xyz"', "64 hexadecimal"),
        ('[[key]]\nname = "a"\nscops = []\nkey = "0123456789abcdef"', "scops"),
    ],
)
def test_a_wrong_key_file_is_refused_at_the_start(bundles, tmp_path, content, named):
    (tmp_path / "keys.toml").write_text(content)
    arguments = ("--model", str(bundles / "double.onnx"))
    code, log = run_until_exit(
        *arguments, "--api-keys-file", str(tmp_path / "keys.toml"), folder=tmp_path
    )
    assert code == 2
    assert named.replace("\\", "") in log
    assert "Traceback" not in log


def talk(server, *pieces: bytes, seconds: float = 10.0) -> bytes:
    """What a raw connection answers until it is closed."""
    received = b""
    with socket.create_connection(server.address, timeout=seconds) as connection:
        for piece in pieces:
            connection.sendall(piece)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_bytes_that_are_not_http_are_400_in_json(server):
    head, _, body = talk(server, b"\x16\x03\x01 hello\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "malformed_http"


def test_what_clients_send_wrong_is_not_logged(server):
    upgrade = b"GET /health/live HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    assert talk(server, upgrade).startswith(b"HTTP/1.1 200 ")
    for _ in range(3):
        talk(server, b"\x16\x03\x01 hello\r\n\r\n")
    assert "Invalid HTTP" not in server.log
    assert "upgrade" not in server.log.lower()


def test_headers_that_do_not_end_are_408(server):
    answer = talk(server, b"POST /predict HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"head_timeout" in answer


@pytest.mark.soak
def test_a_connection_that_says_nothing_is_closed_when_an_idle_one_would_be(server):
    begin = time.monotonic()
    assert talk(server, seconds=KEEP_ALIVE_SECONDS + 20) == b""
    assert time.monotonic() - begin >= KEEP_ALIVE_SECONDS - 1


def test_a_connection_may_be_opened_ahead_of_its_request(server):
    with socket.create_connection(server.address, timeout=10) as connection:
        time.sleep(2 * HEAD_SECONDS)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head", [b"GET /" + b"a" * 100_000, b"GET / HTTP/1.1\r\nX: " + b"b" * 100_000]
)
def test_a_head_without_end_is_431(server, head):
    assert talk(server, head + b" \r\n\r\n").startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("path", [b"/nope", b"/predict"])
def test_who_is_refused_before_the_body_is_there_sees_it_and_the_connection_ends(server, path):
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n" % path
    answer = talk(server, head, b"a" * 2**20)
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 401 "))
    assert b"connection: close\r\n" in answer


def test_a_slow_second_request_on_a_connection_is_408_too(server):
    first = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = talk(server, first, b"GET /health/live HTTP/1.1\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


def test_what_is_malformed_is_one_request_with_one_answer(server):
    """Also where it began well."""
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n" % PREDICT_KEY.encode()
    head += b"X-Request-ID: mine\r\nContent-Type: application/json\r\n"

    def counted():
        with server.client() as client:
            text = client.get("/metrics", headers={"X-API-Key": ADMIN_KEY}).text
        return Scrape(text).by("trainyard_requests_total", "route", "status", "error")

    before = counted()
    answer = talk(server, head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"no size\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"id":"mine"' in answer
    found = counted() - before
    del found["/metrics", "200", ""]
    assert found == {("/predict", "400", "malformed_http"): 1}


@pytest.mark.slow
def test_500_slow_clients_neither_stop_the_server_nor_fill_its_memory(server, client):
    import psutil

    def memory() -> int:
        processes = [psutil.Process(server.process.pid), *server.children()]
        return sum(process.memory_info().rss for process in processes)

    before = memory()
    connections = [socket.create_connection(server.address) for _ in range(500)]
    try:
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            for connection in connections:
                try:
                    connection.sendall(b"P" if time.monotonic() - began < 0.5 else b"X")
                except OSError:
                    connection.close()
            response = client.post("/predict", json=BODY, headers={"X-API-Key": PREDICT_KEY})
            assert response.status_code == 200
            time.sleep(0.2)
    finally:
        for connection in connections:
            connection.close()
    assert memory() - before < 100 * 2**20
