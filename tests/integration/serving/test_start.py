"""How the server starts, and how it says why it does not."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from bundle.registry import ModelRegistry
from tests.followed_model import ADMIN_KEY, NAME, FollowedModel, ask, events
from tests.running_server import (
    ROOT,
    RunningServer,
    eventually,
    run_until_exit,
    running_server,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

BLOCKED = (
    "torch",
    "lightning",
    "pytorch_lightning",
    "hydra",
    "omegaconf",
    "transformers",
    "mlflow",
    "onnx",
)
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def expect_one_line(stderr: str, *parts: str) -> None:
    """An error line that has all of the parts, and nothing that looks like a crash."""
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    for part in parts:
        assert part in errors[0]
    assert "Traceback" not in stderr
    assert "ready" not in stderr.replace("already", "")


def orphans(folder: Path) -> list[psutil.Process]:
    """Processes that serve the bundle and whose parent has died."""
    return [
        process
        for process in psutil.process_iter(["ppid", "cmdline"])
        if process.info["ppid"] == 1 and str(folder) in (process.info["cmdline"] or [])
    ]


def test_the_server_starts_where_no_framework_can_be_imported(bundles, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    with (
        running_server(
            *("--model", str(bundles / "text"), "--model", str(bundles / "image")),
            *("--api-processes", "2"),
            folder=tmp_path,
            environment={"PYTHONPATH": str(tmp_path)},
        ) as server,
        server.client() as client,
    ):
        assert client.post("/predict", json={"text": "good"}).status_code == 200
        supervisor = psutil.Process(server.process.pid)
        processes = [supervisor, *server.children("api"), *server.children("worker")]
        assert {process.environ()["PYTHONPATH"] for process in processes} == {str(tmp_path)}
        # What is forked must come from a process without threads, and has no use for the runtime.
        assert supervisor.num_threads() == 1
        assert [has_runtime(process) for process in processes] == [False, False, False, True]


def test_declared_fallback_serves_and_says_what_runs(bundles, tmp_path):
    with (
        running_server(
            *("--model", str(bundles / "double.onnx"), "--provider", "tensorrt"),
            *("--fallback", "cpu"),
            folder=tmp_path,
        ) as server,
        server.client() as client,
    ):
        (model,) = client.get("/health").json()["models"]
        assert (model["engine"], model["provider"]) == ("onnxruntime", "cpu")
        metrics = client.get("/metrics").text
    warnings = [line for line in server.log.splitlines() if "it runs on cpu" in line]
    assert len(warnings) == 1
    assert "tensorrt was asked for" in warnings[0]
    assert "nv_gpu" not in metrics
    assert server.log.count("there are no GPU metrics") == 1


def has_runtime(process: psutil.Process) -> bool:
    return any("onnxruntime" in mapped.path for mapped in process.memory_maps())


def test_the_ready_line_comes_exactly_once_and_nothing_is_left_behind(bundles, tmp_path):
    temporary, working = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    working.mkdir()
    config = tmp_path / "serve.toml"
    config.write_text(f'model = ["{bundles / "double.onnx"}"]\nhost = "localhost"\n')
    with (
        running_server(
            folder=working,
            environment={"TRAINYARD_CONFIG": str(config), "TMPDIR": str(temporary)},
        ) as server,
        server.client() as client,
    ):
        assert client.get("/health").status_code == 200
    lines = server.log.splitlines()
    assert [line for line in lines if not line.startswith("{")] == [f"ready {server.url}"]
    assert server.url.startswith("http://localhost:")
    assert server.process.returncode == 0
    assert list(temporary.iterdir()) == []
    assert [path for path in working.iterdir() if path.suffix != ".log"] == []


def test_a_busy_port_is_one_clear_line(bundles, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, stderr = run_until_exit(
            "--model", str(bundles / "double.onnx"), "--port", str(port), folder=tmp_path
        )
    assert code == 1
    expect_one_line(stderr, str(port), "in use", "--port")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([], 2, ["no model", "--model"]),
        (["--model", "/no/such/bundle"], 2, ["/no/such/bundle"]),
        (["--model", "models:/nope/x"], 2, ["models:/nope/x"]),
        (["--model", "a=models:/"], 2, ["models:/"]),
        (["--model", "{double}", "--port", "x"], 2, ["--port=x"]),
        (["--model", "{double}", "--host", "256.1.1.1"], 1, ["256.1.1.1"]),
        (["--model", "{double}", "--host", "192.0.2.1"], 1, ["192.0.2.1"]),
        (["--model", "{double}", "--provider", "tensorrt"], 1, ["tensorrt"]),
        (["--model", "{image}", "--variant", "int8"], 2, ["int8"]),
        (["--model", "{double}", "--model", "{double}"], 2, ["NAME=URI"]),
        (["--model", "{image}/manifest.json"], 2, ["manifest.json"]),
    ],
)
def test_a_wrong_command_is_one_clear_line(bundles, tmp_path, arguments, code, parts):
    names = {"double": bundles / "double.onnx", "image": bundles / "image"}
    found, stderr = run_until_exit(
        *[argument.format(**names) for argument in arguments], folder=tmp_path
    )
    assert found == code, stderr
    expect_one_line(stderr, *parts)


@pytest.mark.parametrize(
    ("uri", "code", "told"),
    [
        ("ftp://nosuchhost.invalid/x", 1, "the address is right"),
        ("foo://x", 2, "storage that fsspec knows"),
        ("http://127.0.0.1:9/x", 1, "the address is right"),
    ],
)
def test_storage_that_cannot_be_read_is_told_in_one_line(tmp_path, uri, code, told):
    found, stderr = run_until_exit("--model", uri, folder=tmp_path)
    assert found == code
    [line] = stderr.splitlines()
    assert line.startswith(f"error: {uri} cannot be read: ")
    assert told in line


def test_a_damaged_bundle_is_one_clear_line_and_leaves_no_process(bundles, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundles / "image", folder)
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    code, stderr = run_until_exit(
        "--model", str(folder), "--port", "0", "--api-processes", "2", folder=tmp_path
    )
    assert code == 1
    expect_one_line(stderr, "model.onnx")
    assert orphans(folder) == []


def test_a_registered_model_is_served_by_alias_and_number(bundles, tmp_path, tracking_uri):
    version = ModelRegistry(tracking_uri).register(bundles / "image")
    with (
        running_server(
            *("--model", "models:/shades@champion", "--model", "second=models:/shades/1"),
            folder=tmp_path,
            environment={"MLFLOW_TRACKING_URI": tracking_uri, "TRAINYARD_CACHE": str(tmp_path)},
        ) as server,
        server.client() as client,
    ):
        models = client.get("/health").json()["models"]
        found = [(model["name"], model["version"]) for model in models]
        assert found == [("shades", str(version.number)), ("second", str(version.number))]
        assert psutil.Process(server.process.pid).num_threads() == 1


def test_a_signal_while_starting_ends_the_start(bundles, tmp_path):
    log_file = tmp_path / "log"
    process = start(["--model", str(bundles / "image"), "--port", "0"], log_file=log_file)
    supervisor = psutil.Process(process.pid)
    eventually(lambda: len(supervisor.children()) >= 2)
    children = supervisor.children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_print_settings_shows_values_and_origins(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "serve.py"), "--batch-size", "7", "--print-settings"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert "batch_size = 7  # --batch-size" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def heeded_ctrl_c():
    """A shell lets what it runs in the background ignore Ctrl-C, and so all that this starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_while_the_registry_is_waited_for_is_told_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(
            ["--port", "0", "--model", "models:/digits"],
            log_file=tmp_path / "serve.log",
            environment={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}"},
        )
        silent.settimeout(60)
        asking, _ = silent.accept()
        with asking:
            # As a terminal does; those that listen have time to show it.
            for child in psutil.Process(process.pid).children(recursive=True):
                child.send_signal(signal.SIGINT)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 128 + signal.SIGINT, (tmp_path / "serve.log").read_text()
    expect_one_line((tmp_path / "serve.log").read_text(), "interrupted")


LATE_WATCHER = """
import pathlib, sys, time

folder = pathlib.Path(__file__).parent
if "--multiprocessing-fork" in sys.orig_argv:
    if (folder / "resolved").exists():
        while not (folder / "go").exists():
            time.sleep(0.01)
    (folder / "resolved").touch()
"""
"""The first process that is spawned finds the models; the second one, the watcher, comes late."""


@pytest.fixture
def late(tmp_path, empty_registry, free_tcp_port):
    """A server that answers and does not follow the registry yet, with its log."""
    (tmp_path / "sitecustomize.py").write_text(LATE_WATCHER)
    model = FollowedModel.create(tmp_path, empty_registry, versions=2)
    environment = {
        **model.environment,
        "PYTHONPATH": str(tmp_path),
        "TRAINYARD_API_KEYS": f"boss:predict+metrics+admin:{ADMIN_KEY}",
    }
    log = tmp_path / "late.log"
    arguments = ["--model", f"models:/{NAME}", "--port", str(free_tcp_port), "--threads", "1"]
    process = start(arguments, log_file=log, environment=environment)
    server = RunningServer(process, f"http://127.0.0.1:{free_tcp_port}", log)
    try:
        eventually(lambda: _answers(server), seconds=200)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(server: RunningServer) -> bool:
    assert server.process.poll() is None, server.log
    try:
        with server.client() as client:
            return client.get("/health/ready").status_code == 200
    except httpx.ConnectError:
        return False


def test_the_server_is_ready_when_it_follows_the_registry(late, tmp_path):
    headers = {"X-API-Key": ADMIN_KEY}
    with late.client() as client, ThreadPoolExecutor() as pool:
        assert ask(client, headers=headers).status_code == 200
        call = pool.submit(httpx.get, f"{late.url}/admin/models", headers=headers, timeout=60)
        time.sleep(0.3)
        assert not call.done()
        assert "ready http" not in late.log
        (tmp_path / "go").touch()
        eventually(lambda: f"ready {late.url}" in late.log)
        assert [found["name"] for found in call.result().json()["models"]] == [NAME]


def test_the_server_drains_also_before_it_follows_the_registry(late):
    headers = {"X-API-Key": ADMIN_KEY}
    with ThreadPoolExecutor() as pool:
        call = pool.submit(httpx.get, f"{late.url}/admin/models", headers=headers, timeout=60)
        time.sleep(0.3)
        late.signal(signal.SIGTERM)
        assert late.wait() == 0
        assert call.result().status_code == 503
        assert "the server stops" in call.result().json()["error"]["message"]
    assert [event["clean"] for event in events(late, "stopped")] == [True]
