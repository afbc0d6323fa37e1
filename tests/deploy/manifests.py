"""What deployments of every kind have to agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.cache import CACHE_VARIABLE
from serving.flags import CONFIG_VARIABLE, read_command_line
from serving.guard import VARIABLE as KEYS_VARIABLE
from serving.guard import read_keys
from serving.settings import PREFIX, SPECS, variable
from serving.supervisor import STOP_SECONDS, WATCHER_STOP_SECONDS, WORKER_STOP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
IMAGE_PORT = 8000
IMAGE_USER = 10001
SETTINGS = {variable(spec) for spec in SPECS.values()}
VARIABLES = SETTINGS | {CACHE_VARIABLE, CONFIG_VARIABLE, KEYS_VARIABLE}
"""All TRAINYARD_ variables that a server reads."""


def check_settings(environment: Mapping[str, str]) -> None:
    """Every variable is a real one, and the server takes its value."""
    ours = {name for name in environment if name.startswith(PREFIX)}
    assert ours <= VARIABLES
    command = read_command_line([], environment)
    assert command.warnings == ()
    assert command.settings.model, "a server needs a model"
    read_keys("", environment)


def drain_seconds(environment: Mapping[str, str]) -> float:
    """How long the server may take from SIGTERM to its end."""
    settings = read_command_line([], environment).settings
    leaving = STOP_SECONDS + WORKER_STOP_SECONDS + WATCHER_STOP_SECONDS
    return (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000 + leaving


def instruction(image: str, keyword: str) -> list[str]:
    """The arguments of that instruction, wherever it stands in the image's Dockerfile."""
    path = ROOT / "deploy" / "docker" / f"Dockerfile.{image}"
    return re.findall(rf"^{keyword}\s+(.+)$", path.read_text(), re.MULTILINE)
