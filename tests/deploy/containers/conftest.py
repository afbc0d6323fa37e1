"""Images and containers that more than one test uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.deploy.absence import absent
from tests.deploy.containers.base_image import provide
from tests.deploy.containers.podman import Podman, missing_tools

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """Not where its programs are absent."""
    if missing := missing_tools():
        absent(f"not installed here: {', '.join(missing)}")
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def build(podman: Podman) -> Callable[..., str]:
    """Builds an image as `make image` does, and tells its name."""
    provide(podman)
    arguments = podman.build_arguments()
    index = os.environ.get("TORCH_INDEX")
    of_torch = ["--build-arg", f"TORCH_INDEX={index}"] if index else []

    def build(name: str, *more: str) -> str:
        chosen = of_torch if name == "train" else []
        printed = podman.script("deploy/docker/build.sh", name, *arguments, *chosen, *more)
        print(printed.splitlines()[-1])
        return f"localhost/trainyard-{name}:local"

    return build


@pytest.fixture(scope="session")
def server_image(build: Callable[..., str]) -> str:
    return build("serve")
