"""The trainer's image: trains, exports, and leaves a bundle that the server's image serves."""

from __future__ import annotations

import json

import pytest

from tests.running_server import eventually

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(3600)]

RESTRAINTS = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--network", "none"),
)


def test_run_and_its_bundle_outlive_the_container_that_made_them(podman, build, server_image):
    image = build("train")
    volume = podman("volume", "create").strip()
    within = ("run", "--rm", *RESTRAINTS, "--volume", f"{volume}:/workspace")
    name = f"trainyard-test-{volume[:12]}"
    try:
        podman(
            *within, image, "data=digits", "model=mlp", "trainer.max_epochs=1",
            "hydra.run.dir=outputs/run", seconds=600,
        )  # fmt: skip
        summary = podman(*within, "--entrypoint", "cat", image, "outputs/run/summary.json")
        assert json.loads(summary)["status"] == "finished"
        exported = podman(
            *within, "--entrypoint", "trainyard-export", image,
            "run=latest", "target=none", "output=outputs/bundle", seconds=600,
        )  # fmt: skip
        assert exported.strip().splitlines()[-1] == "/workspace/outputs/bundle"

        podman(
            "run", "--detach", "--name", name, *RESTRAINTS, "--volume", f"{volume}:/workspace:ro",
            "--env", "TRAINYARD_MODEL=/workspace/outputs/bundle", server_image,
        )  # fmt: skip
        eventually(lambda: podman.healthy(name), seconds=90)
    finally:
        podman.try_("rm", "--force", "--volumes", "--time", "0", name)
        podman.try_("volume", "rm", "--force", volume)
