"""How the server ends: which signals stop it, and what its exit code says of the others."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.followed_model import FollowedModel, events, watcher_pid
from tests.followed_model import ask as ask_digits
from tests.running_server import ROOT, RunningServer, eventually
from tests.slow_server import SECOND_OF_WORK, ask, in_flight, start

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFINISHED = "process did not finish in time"
ENDLESS = 600 * SECOND_OF_WORK
SOON = ("--drain-delay-ms", "0", "--drain-timeout-ms", "500")


@contextmanager
def hang_up_as(disposition: signal.Handlers) -> Iterator[None]:
    """What is started meanwhile treats SIGHUP so at first, whatever runs the tests does."""
    before = signal.signal(signal.SIGHUP, disposition)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def ends(server: RunningServer) -> list[bool]:
    return [event["clean"] for event in events(server, "stopped")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_not_done_by_the_deadline_is_answered_503_and_its_worker_named(
    bundles, tmp_path, number
):
    with start(bundles, tmp_path, *SOON) as server:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, server, ENDLESS)
            in_flight(server, 1)
            time.sleep(0.3)
            server.signal(number)
            response = answer.result()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
        assert server.wait() == 1
        assert ends(server) == [False]
        assert [event["process"] for event in events(server, UNFINISHED)] == ["worker-0"]


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_process_that_stands_still_is_no_clean_end(bundles, tmp_path, kind):
    with start(bundles, tmp_path, *SOON, "--api-processes", "1") as server:
        [standing] = server.children(kind)
        standing.send_signal(signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        assert server.wait() == 1
        assert ends(server) == [False]
        [event] = events(server, UNFINISHED)
        assert (event["process"], event["pid"]) == (f"{kind}-0", standing.pid)


def test_a_watcher_that_stands_still_does_not_decide(tmp_path, empty_registry):
    model = FollowedModel.create(tmp_path, empty_registry, versions=1)
    with model.serve(*SOON) as server:
        os.kill(watcher_pid(server), signal.SIGSTOP)
        with server.client() as client:
            assert ask_digits(client).status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert ends(server) == [True]
        assert events(server, UNFINISHED) == []


def test_a_terminal_that_closes_lets_what_is_in_flight_finish(bundles, tmp_path):
    with (
        hang_up_as(signal.SIG_DFL),
        start(bundles, tmp_path, "--drain-delay-ms", "0") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(ask, server, 2 * SECOND_OF_WORK)
        in_flight(server, 1)
        time.sleep(0.3)
        for process in server.children():  # as the system does
            process.send_signal(signal.SIGHUP)
        server.signal(signal.SIGHUP)
        assert answer.result().status_code == 200
        assert server.wait() == 0
        assert [event["signal"] for event in events(server, "draining")] == ["SIGHUP"]
        assert ends(server) == [True]


def test_a_server_that_is_to_outlive_its_terminal_does(bundles, tmp_path):
    with hang_up_as(signal.SIG_IGN), start(bundles, tmp_path, *SOON) as server:
        for process in server.children():
            process.send_signal(signal.SIGHUP)
        server.signal(signal.SIGHUP)
        time.sleep(0.5)
        assert ask(server).status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert [event["signal"] for event in events(server, "draining")] == ["SIGTERM"]


def test_a_terminal_that_closes_while_models_are_looked_for_ends_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, hang_up_as(signal.SIG_DFL):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model"
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "serve.py"), "--port", "0", "--model", url], cwd=tmp_path
        )
        silent.settimeout(60)
        asking, _ = silent.accept()
        with asking:
            process.send_signal(signal.SIGHUP)
            assert process.wait(20) == 128 + signal.SIGHUP


def test_a_terminal_that_is_gone_changes_nothing_of_the_end(bundles, tmp_path, free_tcp_port):
    """A real one: what is written to it afterwards fails."""
    url = f"http://127.0.0.1:{free_tcp_port}"
    arguments = ["--model", str(bundles / "slow.onnx"), "--port", str(free_tcp_port), *SOON]
    command = [sys.executable, str(ROOT / "serve.py"), *arguments]

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    with hang_up_as(signal.SIG_DFL):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(command[0], command)
        eventually(answers, seconds=200)
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
def test_a_closed_stdout_changes_nothing_of_the_end(bundles, tmp_path, closed):
    log = tmp_path / "log"
    arguments = f"--port 0 --model {bundles / 'double.onnx'}"
    shell = f'exec "{sys.executable}" "{ROOT / "serve.py"}" {arguments} 2>"{log}" {closed}'
    process = subprocess.Popen(["bash", "-c", shell], cwd=tmp_path)
    try:
        eventually(lambda: log.exists() and "ready http" in log.read_text(), seconds=200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert "error" not in log.read_text()
