"""How the server ends: which signals stop it, and what its exit code says of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.followed_model import FollowedModel, events, watcher_pid
from tests.followed_model import ask as ask_digits
from tests.running_server import ROOT, RunningServer, eventually
from tests.slow_server import SECOND_OF_WORK, ask, in_flight, start

UNFINISHED = "process did not finish in time"
ENDLESS = 600 * SECOND_OF_WORK
SOON = ("--drain-delay-ms", "0", "--drain-timeout-ms", "500")


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
