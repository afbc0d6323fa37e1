"""A model's way through the stack: into MLflow, PostgreSQL and S3, and to a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.deploy.containers.podman import ROOT
from tests.deploy.containers.stack import ADDRESS, PATIENCE, PROJECT, Stack
from tests.running_server import eventually
from tests.tiny_bundle import image_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deploy.containers.podman import Podman

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(3600)]

SAMPLE = {"inputs": {"image": [[[100] * 5] * 6] * 3}}
REGISTER = """
import sys
from bundle.registry import ModelRegistry
print(ModelRegistry().register(sys.argv[1]).source)
"""
"""What export.py does at its end, without torch."""
LIST = """
import os
import boto3
store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
for item in store.list_objects_v2(Bucket="mlflow")["Contents"]:
    print(item["Key"])
"""
ASK = f"""
from urllib.request import Request, urlopen
headers = {{"Content-Type": "application/json"}}
body = {json.dumps(SAMPLE)!r}.encode()
print(urlopen(Request("http://127.0.0.1:8000/predict", body, headers)).read().decode())
"""


@pytest.fixture(scope="module")
def stack(
    podman: Podman,
    build: Callable[..., str],
    server_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Running up to the server; PostgreSQL and S3 are played by what Debian and PyPI have."""
    build("mlflow")
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack.copy(podman, folder, TRAINYARD_MODEL="models:/digits")
    services = stack.services()
    for name in ("postgres", "artifacts"):
        context = ROOT / "tests" / "deploy" / "containers" / "stand_ins" / name
        arguments = podman.build_arguments()
        image = services[name]["image"]
        podman("build", "--layers", *arguments, "--tag", image, str(context), seconds=900)
    try:
        stack.up("server")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "45")


def client() -> httpx.Client:
    return httpx.Client(base_url=f"http://{ADDRESS}:8000", timeout=60)


def version() -> str:
    """Of the model that answers; empty while none does."""
    with client() as http:
        try:
            answer = http.post("/predict", json=SAMPLE)
        except httpx.TransportError:
            return ""
    return answer.json().get("version", "") if answer.is_success else ""


def register(podman: Podman, image: str, folder: Path, *, seed: int) -> str:
    """Where the registry keeps the files of a new version of `digits`."""
    bundle = folder / f"bundle-{seed}"
    image_parts(seed=seed).write(bundle)
    bundle.chmod(0o755)
    printed = podman(
        "run", "--rm", "--network", f"{PROJECT}_application", "--volume", f"{bundle}:/bundle:ro",
        "--env", "MLFLOW_TRACKING_URI=http://mlflow:5000", "--entrypoint", "python", image,
        "-c", REGISTER, "/bundle",
    )  # fmt: skip
    return printed.strip().splitlines()[-1]


def as_reader(stack: Stack, query: str) -> str:
    """As Grafana and the exporter ask MLflow's database."""
    user = f"host=127.0.0.1 dbname=mlflow user=reader password={stack.variable('READER_PASSWORD')}"
    return stack.run("postgres", "psql", user, "--tuples-only", "--no-align", "--command", query)


def test_server_answers_from_the_registry_of_the_stack(podman, stack, server_image, tmp_path):
    eventually(lambda: "digits" in stack.log("server"), seconds=PATIENCE)
    assert version() == ""
    source = register(podman, server_image, tmp_path, seed=1)
    assert source.startswith("mlflow-artifacts:/")

    eventually(lambda: version() == "1", seconds=PATIENCE)
    eventually(lambda: stack.healthy("server"), seconds=PATIENCE)
    rows = stack.run(
        "postgres", "psql", "--username", "mlflow", "--tuples-only", "--no-align",
        "--command", "SELECT name, version FROM model_versions",
    )  # fmt: skip
    assert rows == "digits|1"
    assert as_reader(stack, "SELECT name FROM registered_models") == "digits"
    with pytest.raises(AssertionError, match="permission denied"):
        as_reader(stack, "DELETE FROM model_versions")

    register(podman, server_image, tmp_path, seed=2)
    stack.run("server", "trainyard-models", "promote", "digits", "2")
    eventually(lambda: version() == "2", seconds=PATIENCE)
    stack.run("server", "trainyard-models", "rollback", "digits")
    eventually(lambda: version() == "1", seconds=PATIENCE)


def test_bundle_is_on_s3_and_is_served_from_there_too(podman, stack, server_image):
    keys = stack.run("mlflow", "python", "-c", LIST).splitlines()
    folder = next(key for key in keys if key.endswith("/manifest.json")).rpartition("/")[0]
    name = f"{PROJECT}-s3"
    settings = {
        "TRAINYARD_MODEL": f"s3://mlflow/{folder}",
        "AWS_ENDPOINT_URL": "http://artifacts:9000",
        "AWS_ACCESS_KEY_ID": stack.variable("ARTIFACTS_USER"),
        "AWS_SECRET_ACCESS_KEY": stack.variable("ARTIFACTS_PASSWORD"),
    }
    given = [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]
    podman("run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp", "--network",
           f"{PROJECT}_storage", *given, server_image)  # fmt: skip
    try:
        eventually(lambda: podman.healthy(name), seconds=PATIENCE)
        answer = json.loads(podman("exec", name, "python", "-c", ASK))
        assert answer["model"] == "digits"
        podman("stop", "--time", "40", name)
        assert podman.inspect(name, "{{.State.ExitCode}}") == "0"
    finally:
        podman.try_("rm", "--force", "--volumes", "--time", "0", name)


def test_server_of_the_stack_drains_when_the_stack_goes_down(podman, stack):
    stack.compose("stop", "--timeout", "45", "server")
    assert podman.inspect(stack.container("server"), "{{.State.ExitCode}}") == "0"
