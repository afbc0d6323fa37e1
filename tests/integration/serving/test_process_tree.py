"""What happens when processes die, are told to stop, or lose whom they work for."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from serving.supervisor import REPEAT_SECONDS
from tests.followed_model import ADMIN_KEY
from tests.running_server import STOP_SECONDS, eventually
from tests.slow_server import SECOND_OF_WORK, ask, health, in_flight, start


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    """Two API processes and a worker, for the tests that kill one of them."""
    with start(bundles, tmp_path_factory.mktemp("server"), "--api-processes", "2") as server:
        yield server


def test_a_killed_worker_fails_what_it_had_at_once_and_is_replaced(server):
    [worker] = server.children("worker")
    body = {"inputs": {"work": 600 * SECOND_OF_WORK}}
    with ThreadPoolExecutor(8) as pool, server.client() as client:
        answers = [pool.submit(client.post, "/predict", json=body) for _ in range(8)]
        in_flight(server, 8)
        time.sleep(0.3)
        worker.send_signal(signal.SIGKILL)
        eventually(lambda: health(server) != (200, "ready"), seconds=5)
        seen = health(server)
        responses = [answer.result() for answer in answers]
    assert {response.status_code for response in responses} == {503}
    assert {response.json()["error"]["code"] for response in responses} == {"worker_lost"}
    assert {response.headers["retry-after"] for response in responses} == {"1"}
    assert seen in {(503, "degraded"), (200, "ready")}  # the latter: it has been replaced already
    eventually(lambda: health(server) == (200, "ready"))
    eventually(lambda: ask(server).status_code == 200)
    assert server.metric("trainyard_process_deaths_total", kind="worker") == 1
    assert server.log.count("ready http") == 1
    assert len(server.children("worker")) == 1


def test_killed_api_processes_are_replaced_and_the_counts_stay(server):
    def answered() -> float:
        return server.metric("trainyard_requests_total", route="/predict", status="200")

    before = answered()
    for _ in range(10):
        assert ask(server).status_code == 200
    for victim in server.children("api"):
        victim.send_signal(signal.SIGKILL)
        eventually(lambda victim=victim: not victim.is_running())
    eventually(lambda: len(server.children("api")) == 2 and health(server)[0] == 200)
    for _ in range(10):
        assert ask(server).status_code == 200
    assert answered() == before + 20
    assert server.metric("trainyard_process_deaths_total", kind="api") == 2


def test_nobody_is_turned_away_while_the_only_api_process_is_replaced(bundles, tmp_path):
    with start(bundles, tmp_path, "--api-processes", "1") as server:
        for _ in range(3):
            [process] = server.children("api")
            process.kill()
            process.wait()
            assert ask(server).status_code == 200
            eventually(lambda: len(server.children("api")) == 1)


def test_sigterm_drains_what_is_in_flight_and_ends_with_0(bundles, tmp_path):
    options = ("--api-processes", "2", "--batch-size", "16", "--drain-delay-ms", "2000")
    with start(bundles, tmp_path, *options) as server:
        processes = server.children()
        body = {"inputs": {"work": SECOND_OF_WORK // 4}}
        with ThreadPoolExecutor(64) as pool, server.client() as client:
            answers = [pool.submit(client.post, "/predict", json=body) for _ in range(64)]
            in_flight(server, 64)
            server.signal(signal.SIGTERM)
            eventually(lambda: health(server) == (503, "draining"), seconds=5)
            late = ask(server)
            responses = [answer.result() for answer in answers]
        assert {response.status_code for response in [late, *responses]} == {200}
        assert late.headers["connection"] == "close"
        assert server.wait() == 0
        assert psutil.wait_procs(processes, timeout=10)[1] == []
        assert health(server) == (0, "")


def test_whoever_connects_until_nobody_can_is_answered(bundles, tmp_path):
    """Each request has a connection of its own, and the server stops at once."""
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    body = b'{"inputs": {"work": 1}}'
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def answers() -> list[bytes]:
        found = []
        while True:
            try:
                connection = socket.create_connection(server.address, timeout=20)
            except ConnectionRefusedError:
                return found
            with connection, contextlib.suppress(ConnectionResetError):
                found.append(b"")
                connection.sendall(request)
                found[-1] = connection.recv(12)

    with (
        start(bundles, tmp_path, "--api-processes", "2", "--drain-delay-ms", "0") as server,
        ThreadPoolExecutor(8) as pool,
    ):
        clients = [pool.submit(answers) for _ in range(8)]
        time.sleep(1)
        server.signal(signal.SIGTERM)
        found = [answer for client in clients for answer in client.result()]
        assert server.wait() == 0
    assert len(found) > 8
    assert set(found) <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}


def test_it_stops_in_order_though_no_api_process_is_left(bundles, tmp_path):
    with start(bundles, tmp_path, "--api-processes", "2") as server:
        server.signal(signal.SIGSTOP)  # it hears of the deaths and of the signal at once
        for process in server.children("api"):
            process.kill()
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        assert server.wait() == 1
        assert '"event":"stopped","clean":false' in server.log  # nobody knows what they had


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_process_that_is_killed_while_the_server_stops_is_no_clean_end(bundles, tmp_path, kind):
    with start(bundles, tmp_path, "--api-processes", "1", "--drain-delay-ms", "1000") as server:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, server, 600 * SECOND_OF_WORK)
            in_flight(server, 1)
            time.sleep(0.3)
            server.signal(signal.SIGTERM)
            eventually(lambda: '"event":"draining"' in server.log)
            [victim] = server.children(kind)
            victim.kill()
            if kind == "api":
                with pytest.raises(httpx.TransportError):
                    answer.result()
            else:
                assert answer.result().json()["error"]["code"] == "worker_lost"
        assert server.wait() == 1
        assert '"event":"stopped","clean":false' in server.log
        assert f'"event":"process died while the server stopped","process":"{kind}-0"' in server.log


@pytest.mark.parametrize("path", ["/predict", "/admin/models/a/promote"])
def test_a_body_that_has_not_arrived_by_the_deadline_is_answered_503(bundles, tmp_path, path):
    options = ("--drain-delay-ms", "0", "--drain-timeout-ms", "500")
    key = f"X-API-Key: {ADMIN_KEY}"
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{key}\r\nContent-Length: 9\r\n\r\n{{"
    keys = {"TRAINYARD_API_KEYS": f"boss:predict+admin:{ADMIN_KEY}"}
    with start(bundles, tmp_path, *options, environment=keys) as server:
        with socket.create_connection(server.address, timeout=20) as connection:
            connection.sendall(head.encode())
            in_flight(server, 1)
            time.sleep(0.3)
            server.signal(signal.SIGTERM)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"stopping"' in answer
        assert server.wait() == 0
        log = server.log_file.read_text()
        assert "Traceback" not in log
        assert '"event":"stopped","clean":true' in log


def test_a_second_signal_stops_at_once(bundles, tmp_path):
    with start(bundles, tmp_path) as server:
        processes = server.children()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, server, 600 * SECOND_OF_WORK)
            in_flight(server, 1)
            server.signal(signal.SIGTERM)
            time.sleep(1.5)
            server.signal(signal.SIGTERM)
            assert server.wait(10) == 128 + signal.SIGTERM
            with pytest.raises(httpx.TransportError):
                answer.result()
        assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_one_worker_goes_on_without_the_other_and_nobody_without_the_supervisor(bundles, tmp_path):
    with start(bundles, tmp_path, "--workers", "2", "--api-processes", "2") as server:
        server.children("worker")[0].send_signal(signal.SIGKILL)
        eventually(lambda: health(server) == (200, "degraded"))
        assert ask(server).status_code == 200
        eventually(lambda: health(server) == (200, "ready"))
        processes = server.children()
        sockets = [
            Path(connection.laddr)
            for process in processes
            for connection in process.net_connections("unix")
            if "trainyard" in connection.laddr
        ]
        assert sockets
        server.process.kill()
        assert psutil.wait_procs(processes, timeout=10)[1] == []
        assert not any(socket.exists() or socket.parent.exists() for socket in sockets)


@pytest.mark.slow
def test_a_worker_that_cannot_be_replaced_ends_the_server_when_what_is_in_flight_is_done(
    bundles, tmp_path
):
    options = (
        *("--workers", "2", "--api-processes", "1"),
        *("--timeout-ms", "240000", "--drain-timeout-ms", "240000"),
    )
    shutil.copytree(bundles, tmp_path / "bundles")
    with (
        start(tmp_path / "bundles", tmp_path, *options) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        idle, other = server.children("worker")
        before = {worker: worker.cpu_times().user for worker in (idle, other)}
        answer = pool.submit(ask, server, 30 * SECOND_OF_WORK)

        def works(worker: psutil.Process) -> bool:
            return worker.cpu_times().user - before[worker] > 1.0

        eventually(lambda: works(idle) or works(other))
        if works(idle):
            idle, other = other, idle
        (tmp_path / "bundles" / "slow.onnx").write_bytes(b"no model any more")
        idle.kill()
        eventually(lambda: "cannot be replaced" in server.log, seconds=60)
        server.signal(signal.SIGTERM)  # it is the first
        time.sleep(REPEAT_SECONDS)
        assert not answer.done()
        assert answer.result().status_code == 200
        assert server.wait(STOP_SECONDS) == 1
        assert "cannot be replaced" in server.log.splitlines()[-1]


def test_connections_are_spread_over_the_processes(bundles, tmp_path):
    with (
        start(bundles, tmp_path, "--api-processes", "4") as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(32):
            connection = stack.enter_context(socket.create_connection(server.address, timeout=20))
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        _, port = server.address
        counts = [
            len([found for found in process.net_connections("tcp")
                 if found.status == psutil.CONN_ESTABLISHED and found.laddr.port == port])
            for process in server.children("api")
        ]  # fmt: skip
        assert sum(counts) == 32
        assert max(counts) - min(counts) <= 4
