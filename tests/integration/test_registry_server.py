"""The registry on a real MLflow server over HTTP, as a team uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bundle.archive import open_bundle
from bundle.errors import NotFoundError, RegistryError
from bundle.model import Model
from bundle.registry import ModelRegistry, Routing
from tests.mlflow_server import MlflowServer, free_port
from tests.tiny_bundle import image_parts

# One server, which takes long to start, for all of them.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_registry):
    """The uri of an MLflow server that keeps metadata and artifacts in a folder of its own."""
    found = MlflowServer(tmp_path_factory.mktemp("server"), registry=empty_registry)
    found.begin()
    try:
        yield found.wait().uri
    finally:
        found.kill()


def test_bundle_travels_through_the_server_and_back(server, tmp_path):
    bundle = image_parts(metrics={"accuracy": 0.5}).write(tmp_path / "bundle")
    registry = ModelRegistry(server)

    first, second = (registry.register(bundle.path, name="pets") for _ in range(2))

    assert (first.number, second.number) == (1, 2)
    assert second.source.startswith("mlflow-artifacts:")
    assert second.metadata["metrics"] == {"accuracy": 0.5}
    path = registry.download("pets", 2, tmp_path / "there")
    assert open_bundle(path).manifest == bundle.manifest
    registry.promote("pets", 2)
    registry.split("pets", {1: 25, 2: 75})
    assert ModelRegistry(server).routing("pets") == Routing(champion=2, split={1: 25.0, 2: 75.0})
    registry.rollback("pets")
    registry.rollback("pets")
    assert registry.routing("pets") == Routing(champion=1)
    assert [event.action for event in registry.history("pets")] == [
        *["register"] * 2,
        "promote",
        "split",
        *["rollback"] * 2,
    ]
    model = Model.load(
        "models:/pets@champion", provider="cpu", tracking_uri=server, cache=tmp_path / "cache"
    )
    assert model.version == "1"


def test_what_does_not_exist_is_named(server):
    registry = ModelRegistry(server)

    with pytest.raises(NotFoundError, match="no model 'ghosts'"):
        registry.get("ghosts", 1)
    with pytest.raises(NotFoundError, match="no model 'ghosts'"):
        registry.history("ghosts")


@pytest.mark.soak
def test_numbers_are_unique_when_processes_register_at_once_over_http(server, tmp_path):
    bundle = image_parts(seed=1).write(tmp_path / "bundle")
    program = (
        "import sys; from bundle.registry import ModelRegistry\n"
        "registry = ModelRegistry(sys.argv[1])\n"
        "for _ in range(3): print(registry.register(sys.argv[2], name='crowd').number)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, server, str(bundle.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    numbers = []
    for process in processes:
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        numbers += map(int, out.split())

    assert sorted(numbers) == list(range(1, 10))
    assert ModelRegistry(server).get("crowd", "candidate").number == 9


@pytest.mark.timeout(60)  # MLflow alone would try again for minutes
def test_server_that_is_gone_is_noticed_at_once():
    with pytest.raises(RegistryError, match="cannot be reached"):
        ModelRegistry(f"http://127.0.0.1:{free_port()}").models()
