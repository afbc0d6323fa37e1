"""The Deployment of deploy/kubernetes as a pod of Podman, which has no Kubernetes around it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from tests.deploy.test_kubernetes import one
from tests.mlflow_server import free_port
from tests.running_server import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.containers.podman import Podman

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(3600)]

NAME = "trainyard-serve-pod-0"
"""Podman's, for the first pod of the Deployment."""
CONTAINER = f"{NAME}-serve"
KEY = "0123456789abcdef-of-the-shop"
KEYS = f'[[key]]\nname = "shop"\nkey = "{KEY}"\nscopes = ["predict", "metrics"]\n'


def with_folders(image: str, port: int, *, models: Path, keys: Path) -> str:
    """The manifests with this image, port and model.

    The API keys come from a folder: Podman 4.3 does not decode the data of a Secret.
    """
    config, deployment = (
        copy.deepcopy(one("overlays/cpu", kind)) for kind in ("ConfigMap", "Deployment")
    )
    config["data"] |= {"TRAINYARD_MODEL": "/models/image", "TRAINYARD_PORT": str(port)}
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    container |= {"image": image, "imagePullPolicy": "Never"}
    container["ports"][0]["containerPort"] = port
    container["volumeMounts"].append({"name": "models", "mountPath": "/models", "readOnly": True})
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "keys"]
    for name, folder in (("models", models), ("keys", keys)):
        pod["volumes"].append({"name": name, "hostPath": {"path": str(folder)}})
    return yaml.safe_dump_all([config, deployment])


@pytest.fixture
def pod(podman: Podman, server_image: str, bundles: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the server in it."""
    port = free_port()
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "keys.toml").write_text(KEYS)
    for folder in (tmp_path, keys, bundles, bundles / "image"):
        folder.chmod(0o755)
    manifests = tmp_path / "pod.yaml"
    manifests.write_text(with_folders(server_image, port, models=bundles, keys=keys))
    podman("play", "kube", str(manifests))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        podman("pod", "rm", "--force", NAME)
        podman("volume", "rm", "--force", "cache", "tmp")


def test_the_deployment_runs_without_any_right_answers_and_drains(podman, pod):
    def ready() -> bool:
        try:
            return httpx.get(f"{pod}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    eventually(ready, seconds=60)
    sample = {"inputs": {"image": [[[255] * 8] * 8]}}
    assert httpx.post(f"{pod}/predict", json=sample).status_code == 401
    answer = httpx.post(f"{pod}/predict", json=sample, headers={"X-API-Key": KEY})
    assert answer.json()["prediction"]["label"] == "bright"

    status = podman("exec", CONTAINER, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert podman.try_("exec", CONTAINER, "touch", "/x").returncode != 0

    podman("stop", "--time", "50", CONTAINER)
    assert podman.inspect(CONTAINER, "{{.State.ExitCode}}") == "0"
