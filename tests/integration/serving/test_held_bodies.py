"""The bodies of all requests together are bounded, however many come at once."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.running_server import RunningServer, eventually, running_server

if TYPE_CHECKING:
    import httpx

LARGEST = 700_000
BODY = json.dumps({"inputs": {"x": [1, 2, 3, 4]}}).encode()


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    """It holds a MiB: more than one large body, and less than two."""
    with running_server(
        *("--model", str(bundles / "double.onnx"), "--threads", "1", "--api-processes", "1"),
        *("--max-body-bytes", str(LARGEST), "--max-held-mb", "1"),
        folder=tmp_path_factory.mktemp("server"),
    ) as server:
        yield server


def padded(size: int) -> bytes:
    return BODY + b" " * (size - len(BODY))


@contextlib.contextmanager
def body_on_its_way(server: RunningServer, size: int):
    """So much of the largest body has been sent and read, and more does not come."""
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGEST}\r\n\r\n"
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(head.encode() + padded(size))
        eventually(lambda: on_the_way(connection) == 0)
        yield


def on_the_way(connection: socket.socket) -> int:
    """Bytes that the server has not read, wherever in the system they are."""
    ports = {connection.getsockname()[1], connection.getpeername()[1]}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(queue, 16)
        for _, local, remote, _, queues, *_ in rows
        if {int(end.split(":")[1], 16) for end in (local, remote)} == ports
        for queue in queues.split(":")
    )


def ask(client: httpx.Client, path: str, size: int) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return client.post(path, content=padded(size), headers=headers)


def test_a_body_that_does_not_fit_beside_others_is_answered_503_until_it_does(server, client):
    with body_on_its_way(server, LARGEST - 1):
        eventually(lambda: ask(client, "/predict", 600_000).status_code == 503)
        refused = ask(client, "/predict", 600_000)
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        assert ask(client, "/predict", 1000).status_code == 200
        assert ask(client, "/v2/models/double/infer", 600_000).status_code == 503
    eventually(lambda: ask(client, "/predict", 600_000).status_code == 200)


def test_what_is_inflated_counts_as_it_is_then(server, client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    small = gzip.compress(padded(LARGEST))
    with body_on_its_way(server, 600_000):
        eventually(
            lambda: client.post("/predict", content=small, headers=headers).status_code == 503
        )
    eventually(lambda: client.post("/predict", content=small, headers=headers).status_code == 200)


def test_what_was_held_is_let_go_however_the_request_ends(server, client):
    for _ in range(3):
        # Until the end of the connection below is noticed.
        eventually(lambda: ask(client, "/predict", LARGEST).status_code == 200)
        assert ask(client, "/predict", LARGEST + 1).status_code == 413
        assert ask(client, "/predict?model=double", LARGEST).status_code == 400
        assert ask(client, "/v2/models/double/infer", LARGEST).status_code == 400
        with body_on_its_way(server, LARGEST - 1):
            pass
    eventually(lambda: ask(client, "/predict", LARGEST).status_code == 200)
