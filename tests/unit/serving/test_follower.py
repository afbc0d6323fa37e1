"""A follower of a model whose version cannot be fetched: for a while, or because it is bad."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import pytest

from bundle.archive import sha256_file
from bundle.errors import IntegrityError, RegistryError
from bundle.registry import Routing
from bundle.registry.version import MANIFEST_SHA256, ModelVersion, Standing
from bundle.uri import fetch_version
from serving.routing.follower import Follower
from tests.tiny_bundle import image_parts


class Registry:
    """Has one version, and hands it out unless there is an `error`."""

    def __init__(self, folder) -> None:
        self.error: Exception | None = None
        self.parts = image_parts()
        manifest = self.parts.write(folder / "registered").path / "manifest.json"
        self.tags = {MANIFEST_SHA256: sha256_file(manifest)}

    def standing(self, name: str) -> Standing:
        routing = Routing(champion=1)
        return Standing(aliases={"champion": 1}, routing=routing)

    def get(self, name: str, number: int) -> ModelVersion:
        return ModelVersion(
            name=name, number=number, aliases=("champion",), created=datetime.now(UTC),
            run_id=None, source="", tags=self.tags,
        )  # fmt: skip

    def download(self, name: str, number: int, destination):
        if self.error is not None:
            raise self.error
        return self.parts.write(destination).path


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


@pytest.fixture
def follower(registry, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.routing.follower.BRIEF_SECONDS", 0.05)
    fetch = partial(fetch_version, registry, cache=tmp_path / "cache")
    return Follower("models:/digits", registry=registry, fetch=fetch)


def test_a_version_that_the_registry_did_not_hand_out_is_soon_asked_for_again(follower, registry):
    registry.error = RegistryError("the artifacts cannot be reached")
    [refusal] = follower.poll().refused
    assert "cannot be reached" in refusal.reason
    registry.error = None
    time.sleep(0.1)
    found = follower.poll()
    assert not found.refused
    assert [source.version for source in found.sources] == ["1"]


def test_a_version_that_is_bad_is_left_alone_for_a_while(follower, registry):
    registry.error = IntegrityError("model.onnx has another hash")
    follower.poll()
    registry.error = None
    time.sleep(0.1)
    [refusal] = follower.poll().refused
    assert "another hash" in refusal.reason
