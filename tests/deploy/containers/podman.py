"""Podman, as root on a machine that may have neither systemd nor a registry within reach."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ("podman", "runc", "mmdebstrap")
CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
BUILD_SECONDS = 1800
_SETTING = re.compile(r"(?:global|install|:env:)\.([a-z-]+)='(.*)'")


def missing_tools() -> list[str]:
    """What has to be installed first."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass(frozen=True)
class Podman:
    """One configuration, in a folder of the tests' own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        configuration = self.folder / "containers.conf"
        if not configuration.exists():
            configuration.write_text(CONFIGURATION, encoding="utf-8")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # podman-compose is ours
        chosen = {"CONTAINERS_CONF": str(configuration), "ENGINE": "podman", "PATH": path}
        return {**os.environ, **chosen}

    def try_(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """`podman ARGUMENTS`, whatever comes of it."""
        return self._call("podman", *arguments, seconds=seconds)

    def __call__(self, *arguments: str, seconds: float = 120) -> str:
        """What `podman ARGUMENTS` prints, which must succeed."""
        return _output(self.try_(*arguments, seconds=seconds))

    def script(self, *command: str, seconds: float = BUILD_SECONDS) -> str:
        """What a script of deploy/ prints, with this Podman as its engine."""
        return _output(self._call(*command, seconds=seconds))

    def inspect(self, name: str, template: str) -> str:
        """Of a container or an image."""
        return self("inspect", "--format", template, name).strip()

    def healthy(self, container: str) -> bool:
        """What its own health check says now; nothing runs it by itself without systemd."""
        return self.try_("healthcheck", "run", container).returncode == 0

    def exists(self, image: str) -> bool:
        return self.try_("image", "exists", image).returncode == 0

    def build_arguments(self) -> list[str]:
        """What lets pip work inside a build as it does out here: its settings, the certificates and
        the local folders that they name. The Dockerfiles know nothing of it.
        """
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        settings = dict(_SETTING.findall(listed))
        file = self.folder / "pip.conf"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        file.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
        words = " ".join(settings.values()).split()
        paths = {word for word in words if word.startswith("/") and Path(word).exists()}
        # An index's pages point at files that lie beside its folder.
        paths |= {str(Path(word[7:]).parent) for word in words if word.startswith("file:///")}
        volumes = [f"{file}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in sorted(paths))]
        return ["--network", "host", *(word for item in volumes for word in ("--volume", item))]

    def _call(self, *command: str, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=False, env=self.environment, cwd=ROOT, timeout=seconds,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip


def _output(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
