"""docs/rollout.md: its commands move a model's traffic, its bell is heard by a server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, page
from tests.followed_model import NAME, FollowedModel, version
from tests.running_server import eventually

pytestmark = [pytest.mark.docs, pytest.mark.slow, pytest.mark.timeout(900)]

SECRET = "what-the-bell-and-the-server-know"
SCRIPTS = [b.text for b in page("docs/rollout.md").blocks if b.is_shell and not b.not_run]


@pytest.fixture
def model(tmp_path: Path, empty_registry: Path) -> FollowedModel:
    """With all the versions that the page speaks of."""
    model = FollowedModel.create(tmp_path, empty_registry, versions=5)
    model.registry.promote(NAME, 3)
    return model


def run(script: str, **environment: str) -> None:
    """As it stands on the page, in this folder's environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
        cwd=ROOT, env={**os.environ, "PATH": path, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_every_block_of_the_page_is_one_of_the_two_kinds():
    kinds = [script.startswith("python models.py ") for script in SCRIPTS]
    assert kinds == [True, True, False]


def test_commands_that_move_traffic_run_in_the_order_of_the_page(model):
    for script in SCRIPTS[:2]:
        run(script, **model.environment)
    routing = model.registry.routing(NAME)
    assert (routing.champion, routing.shadow) == (3, None)


def test_a_server_that_does_not_poll_hears_the_bell(model):
    environment = {"TRAINYARD_WEBHOOK_SECRET": SECRET}
    serving = model.serve("--poll-seconds", "0", environment=environment)
    with serving as server, server.client() as client:
        model.registry.promote(NAME, 4)
        time.sleep(1)
        assert version(client) == "3"
        script = SCRIPTS[2].replace("https://models.example.org", server.url)
        run(script.replace("curl ", "curl -sf "), SECRET=SECRET)
        eventually(lambda: version(client) == "4", seconds=60)
