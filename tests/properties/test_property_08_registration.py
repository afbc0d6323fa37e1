"""Property 8: what is exported is registered: a new version, with aliases, files and its run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mlflow.tracking import MlflowClient

from bundle.archive import open_bundle
from bundle.registry import ModelRegistry
from optimize.optimizer import ModelOptimizer, Outcome
from optimize.progress import StageProgress
from optimize.schema import (
    CacheConfig,
    ExportConfig,
    Exporter,
    GoldenConfig,
    OptimizeConfig,
    Target,
)
from tests.tiny_checkpoint import shared_checkpoint
from trainer.restore import restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# How the graph was written is no matter here, and this is the faster way.
FAST = OptimizeConfig(
    exporter=Exporter.torchscript,
    max_samples=32,
    invariance_samples=8,
    cache=CacheConfig(folder=None),
)


@pytest.fixture
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_checkpoint(tmp_path_factory, "images")


@pytest.fixture
def export(checkpoint, tmp_path, tracking_uri) -> Callable[..., Outcome]:
    """Export the same checkpoint into the named folder."""

    def run(output: str, **fields) -> Outcome:
        config = ExportConfig(
            checkpoint=str(checkpoint),
            target=Target.none,
            output=str(tmp_path / output),
            **{"optimize": FAST, **fields},
        )
        return ModelOptimizer(config, progress=StageProgress()).run()

    return run


def test_property_08_every_new_bundle_is_a_new_version_and_the_candidate(export, tracking_uri):
    golden = {"one": 2, "two": 3, "three": 4}
    versions = [
        export(name, optimize=replace(FAST, golden=GoldenConfig(samples=samples))).version
        for name, samples in golden.items()
    ]
    assert [version.number for version in versions] == [1, 2, 3]
    assert {version.name for version in versions} == {"digits-mlp"}
    registry = ModelRegistry(tracking_uri)
    assert registry.get("digits-mlp", "candidate").number == 3
    assert registry.get("digits-mlp", "champion").number == 1


def test_property_08_the_very_same_bundle_is_one_version(export, tracking_uri):
    assert [export(name).version.number for name in ("one", "two", "one")] == [1, 1, 1]
    assert ModelRegistry(tracking_uri).model("digits-mlp").versions == (1,)


def test_property_08_registered_files_are_the_exported_ones(export, tracking_uri, tmp_path):
    outcome = export("one")
    folder = ModelRegistry(tracking_uri).download("digits-mlp", 1, tmp_path / "fetched")
    fetched = open_bundle(folder)
    assert fetched.manifest == outcome.bundle.manifest
    for name in fetched.manifest.files:
        assert fetched.file(name).read_bytes() == outcome.bundle.file(name).read_bytes()


def test_property_08_version_tells_its_origin_without_its_files(export, tracking_uri, checkpoint):
    export("one")
    metadata = ModelRegistry(tracking_uri).get("digits-mlp", 1).metadata
    restored = restore(checkpoint)
    assert metadata["lineage.checkpoint"]["sha256"] == restored.sha256
    assert metadata["task"] == restored.task
    assert metadata["default_variant"] == "fp32"
    assert metadata["certified"] is True
    assert metadata["metrics"] == restored.metadata["metrics"]


def test_property_08_version_is_linked_to_the_training_run(export, checkpoint, tracking_uri):
    client = MlflowClient(tracking_uri)
    experiment = client.create_experiment("training")
    run_id = client.create_run(experiment).info.run_id
    known = export("one", name="known")
    assert known.version.run_id not in (None, run_id)  # the checkpoint's run is not in this store

    registry = ModelRegistry(tracking_uri)
    linked = registry.register(known.bundle.path, name="linked", run_id=run_id)
    assert linked.run_id == run_id


@pytest.mark.parametrize("register", [None, False])
def test_property_08_nothing_is_registered_when_it_is_not_wanted(register, export, tracking_uri):
    assert export("one", register=register).version is None
    assert ModelRegistry(tracking_uri).models() == []


def test_property_08_version_bears_the_name_that_was_given(export, tracking_uri):
    outcome = export("one", register="reader")
    assert outcome.version.name == "reader"
    assert outcome.bundle.manifest.name == "digits-mlp"
    assert [model.name for model in ModelRegistry(tracking_uri).models()] == ["reader"]
