"""The Dockerfiles' base image: Docker's own where it can be pulled, else one of the same name, made
from the packages of the same Debian.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.deploy.containers.podman import Podman

PYTHON = "docker.io/library/python:3.11-slim-bookworm"
_PACKAGES = ("python3", "python3-venv", "python3-pip", "python-is-python3", "ca-certificates")


def provide(podman: Podman) -> str:
    """The name of the image, which is here afterwards."""
    if podman.exists(PYTHON) or podman.try_("pull", "--quiet", PYTHON).returncode == 0:
        return PYTHON
    archive = podman.folder / "base.tar"
    include = f"--include={','.join(_PACKAGES)}"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", str(archive)],
        check=True,
        timeout=600,
    )
    podman("import", "--change", "CMD /bin/bash", str(archive), PYTHON)
    archive.unlink()
    return PYTHON
