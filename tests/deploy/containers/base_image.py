"""The Dockerfiles' base image: Docker's own where it can be pulled, else one of the same name, made
from the packages of the same Debian.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.deploy.containers.podman import Podman

PYTHON = "docker.io/library/python:3.11-slim-bookworm"
_LEFT_OUT = ("doc", "info", "locale", "man")
"""What Debian's slim images have not got either."""
_PACKAGES = ("python3", "python3-venv", "python3-pip", "python-is-python3", "ca-certificates")
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
_PREFERENCES = "etc/apt/preferences.d/no-usrmerge"
_WITHOUT_PERL = r"Package: usrmerge\nPin: version *\nPin-Priority: -1\n"
"""apt takes usr-is-merged in its place, which does not bring all of Perl."""


def provide(podman: Podman) -> str:
    """The name of the image, which is here afterwards."""
    if podman.exists(PYTHON) or podman.try_("pull", "--quiet", PYTHON).returncode == 0:
        return PYTHON
    archive = podman.folder / "base.tar"
    options = [
        f"--include={','.join(_PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
        f"--hook-dir={_MERGED_USR}",
        f'--setup-hook=printf "{_WITHOUT_PERL}" > "$1/{_PREFERENCES}"',
        f'--customize-hook=rm "$1/{_PREFERENCES}"',
    ]
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", *options, "bookworm", str(archive)],
        check=True,
        timeout=600,
    )
    podman("import", "--change", "CMD /bin/bash", str(archive), PYTHON)
    archive.unlink()
    return PYTHON
