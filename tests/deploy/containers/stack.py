"""The stack of deploy/compose, brought up service by service in the order of its file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.containers.podman import ROOT
from tests.running_server import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.containers.podman import Podman

ADDRESS = "127.0.0.87"
"""Of this machine alone, and not the one on which a stack in use would listen."""
PROJECT = "trainyard-test"
PATIENCE = 180.0


@dataclass
class Stack:
    """A copy of the folder, so that its .env and its secrets are the test's own."""

    podman: Podman
    folder: Path

    @classmethod
    def copy(cls, podman: Podman, folder: Path, **settings: str) -> Stack:
        """Settings take the place of what .env has."""
        shutil.copytree(
            ROOT / "deploy" / "compose",
            folder / "deploy" / "compose",
            ignore=shutil.ignore_patterns(".env", "secrets"),
        )
        stack = cls(podman, folder / "deploy" / "compose")
        stack.compose("version")
        given = {"COMPOSE_PROJECT_NAME": PROJECT, "BIND": ADDRESS, **settings}
        with (stack.folder / ".env").open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in given.items())
        return stack

    def compose(self, *arguments: str) -> str:
        """As `make up` and `make down` do."""
        return self.podman.script(str(self.folder / "compose.sh"), *arguments)

    def services(self) -> dict[str, Any]:
        return yaml.safe_load((self.folder / "compose.yaml").read_text(encoding="utf-8"))[
            "services"
        ]

    def up(self, service: str) -> None:
        """It, and what it waits for first. Podman's timers need systemd, so the health checks are
        run here.
        """
        for name, how in self.services()[service].get("depends_on", {}).items():
            self.up(name)
            if how["condition"] == "service_healthy":
                eventually(lambda name=name: self.healthy(name), seconds=PATIENCE)
            else:
                assert self.podman("wait", self.container(name)).strip() == "0", self.log(name)
        if self.podman.try_("container", "exists", self.container(service)).returncode != 0:
            self.compose("up", "--detach", "--no-deps", service)

    def variable(self, name: str) -> str:
        """What .env says."""
        lines = (self.folder / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)[name]

    def container(self, service: str) -> str:
        return f"{PROJECT}_{service}_1"

    def healthy(self, service: str) -> bool:
        return self.podman.healthy(self.container(service))

    def log(self, service: str) -> str:
        done = self.podman.try_("logs", self.container(service))
        return done.stdout + done.stderr

    def run(self, service: str, *command: str) -> str:
        """What a command prints in the service's container."""
        return self.podman("exec", self.container(service), *command).strip()
