"""Kubernetes and ECS run the images that deploy/docker builds."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import IMAGE_PORT, IMAGE_USER, instruction


@pytest.mark.parametrize("image", ["serve", "train"])
def test_the_image_runs_as_the_user_that_manifests_name(image):
    assert instruction(image, "USER") == [f"{IMAGE_USER}:{IMAGE_USER}"]


@pytest.mark.parametrize(
    ("image", "folder"), [("serve", "/var/cache/trainyard"), ("train", "/workspace")]
)
def test_the_image_writes_where_manifests_mount(image, folder):
    assert instruction(image, "VOLUME") == [f'["{folder}"]']


def test_the_server_listens_where_probes_ask():
    assert instruction("serve", "EXPOSE") == [str(IMAGE_PORT)]
    assert instruction("serve", r"\s+TRAINYARD_HOST=0\.0\.0\.0") != []


def test_the_image_has_the_health_check_that_ecs_runs():
    assert any(
        copied.endswith("/usr/local/bin/healthcheck") for copied in instruction("serve", "COPY")
    )
