"""The server's image, built and run by Podman as an orchestrator would run it."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from tests.deploy.containers.podman import ROOT
from tests.mlflow_server import free_port
from tests.running_server import eventually
from tests.tiny_bundle import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deploy.containers.podman import Podman

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(3600)]

LARGEST_BYTES = 600_000_000
LOCKED = re.compile(r"^([\w.-]+)==([\w.+-]+)$", flags=re.MULTILINE)
RESTRAINTS = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "512m"),
)


class Container:
    """The server, on a port of its own."""

    def __init__(self, podman: Podman, name: str, port: int) -> None:
        self.podman, self.name = podman, name
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)

    def run(self, *command: str) -> str:
        """What a command prints inside."""
        return self.podman("exec", self.name, *command).strip()

    def stop(self, seconds: int = 40) -> int:
        """The exit code after SIGTERM."""
        self.podman("stop", "--time", str(seconds), self.name)
        return int(self.podman.inspect(self.name, "{{.State.ExitCode}}"))


@pytest.fixture
def start(podman: Podman, server_image: str, bundles: Path) -> Iterator[Callable[..., Container]]:
    """Runs the image with `bundles` at /models, without any right that can be taken away."""
    containers: list[Container] = []

    def start(**settings: str) -> Container:
        port = free_port()
        container = Container(podman, f"trainyard-test-{port}", port)
        variables = {"TRAINYARD_PORT": str(port), "TRAINYARD_THREADS": "1", **settings}
        given = [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
        podman(
            "run", "--detach", "--name", container.name, "--network", "host", *RESTRAINTS,
            "--volume", f"{bundles}:/models:ro", *given, server_image,
        )  # fmt: skip
        containers.append(container)
        return container

    bundles.chmod(0o755)  # pytest's folders are for their owner only
    yield start
    for container in containers:
        container.client.close()
        podman.try_("rm", "--force", "--volumes", "--time", "0", container.name)


def wait_until_healthy(podman: Podman, container: Container) -> None:
    def healthy() -> bool:
        state = podman.inspect(container.name, "{{.State.Status}}")
        assert state == "running", podman.try_("logs", container.name).stderr
        return podman.healthy(container.name)

    eventually(healthy, seconds=90)


def test_image_is_small_and_holds_what_the_lock_says(podman, server_image, capsys):
    size = int(podman.inspect(server_image, "{{.Size}}"))
    with capsys.disabled():
        print(f"\n{server_image}: {size / 1e6:.0f} MB")
    assert size <= LARGEST_BYTES
    sbom = json.loads(
        podman("run", "--rm", "--entrypoint", "cat", server_image,
               "/opt/trainyard/share/sbom.cdx.json")
    )  # fmt: skip
    lock = (ROOT / "requirements" / "serve.lock").read_text(encoding="utf-8")
    assert sbom["bomFormat"] == "CycloneDX"
    inside = {(part["name"].lower(), part["version"]) for part in sbom["components"]}
    version = podman.inspect(
        server_image, '{{index .Config.Labels "org.opencontainers.image.version"}}'
    )
    locked = {(name.lower(), number) for name, number in LOCKED.findall(lock)}
    assert inside == locked | {("trainyard", version)}
    assert not {"torch", "pytorch-lightning", "hydra-core", "pip"} & {name for name, _ in inside}


def test_container_answers_without_root_without_rights_and_without_a_disk(podman, start):
    server = start(TRAINYARD_MODEL="/models/image")
    wait_until_healthy(podman, server)

    status = dict(line.split(":\t", 1) for line in server.run("cat", "/proc/1/status").splitlines())
    assert status["Name"] == "trainyard-serve"  # it is process 1 itself
    assert set(status["Uid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    written = podman.try_("exec", server.name, "touch", "/opt/trainyard/x")
    assert "Read-only file system" in written.stderr

    bright = encode(np.full((8, 8), 250, np.uint8))
    answer = server.client.post("/predict", content=bright, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["prediction"]["label"] == "bright"
    assert server.client.get("/v2").json()["version"] != "0"
    assert server.stop() == 0


def test_request_in_flight_is_answered_when_the_container_is_stopped(podman, start):
    server = start(TRAINYARD_MODEL="/models/slow.onnx", TRAINYARD_DRAIN_DELAY_MS="200")
    wait_until_healthy(podman, server)
    began = time.monotonic()
    server.client.post("/predict", json={"inputs": {"work": 1000}})
    rounds = int(3 * 1000 / (time.monotonic() - began))  # about three seconds of work
    answers: list[tuple[httpx.Response, float]] = []

    def ask() -> None:
        response = server.client.post("/predict", json={"inputs": {"work": rounds}})
        answers.append((response, time.monotonic()))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.5)
    assert not answers
    stopped = time.monotonic()
    code = server.stop()
    asking.join(60)
    [(response, answered)] = answers
    assert answered > stopped
    assert response.status_code == 200, response.text
    assert response.headers["Connection"] == "close"
    assert code == 0


def test_container_leaves_at_once_when_it_is_stopped_before_it_is_ready(podman, start):
    server = start(
        TRAINYARD_MODEL="s3://bucket/model",
        AWS_ENDPOINT_URL="http://192.0.2.1:9",  # an address that nobody has: nothing ever answers
        AWS_ACCESS_KEY_ID="nobody",
        AWS_SECRET_ACCESS_KEY="nothing",
    )
    time.sleep(3)
    assert podman.inspect(server.name, "{{.State.Status}}") == "running"
    assert not podman.healthy(server.name)
    began = time.monotonic()
    code = server.stop(seconds=20)
    assert time.monotonic() - began < 10
    assert code == 143


def test_container_ends_with_the_reason_when_the_model_is_not_there(podman, start):
    server = start(TRAINYARD_MODEL="/models/nothing")
    assert podman("wait", server.name).strip() == "2"
    assert "there is no model at /models/nothing" in podman.try_("logs", server.name).stderr


@pytest.mark.parametrize("extras", ["gpus", "cpu trt"])
def test_build_refuses_extras_that_do_not_exist(podman, build, extras):
    with pytest.raises(AssertionError, match=f"EXTRAS={extras} must be cpu, gpu, trt or torch"):
        build("serve", "--build-arg", f"EXTRAS={extras}", "--tag", "localhost/trainyard-test:none")
