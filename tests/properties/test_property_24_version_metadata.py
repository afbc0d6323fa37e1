"""Property 24: the metadata of a version is complete."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from mlflow.tracking import MlflowClient

from bundle.archive import sha256_file
from bundle.manifest import GateResult, Variant
from bundle.registry import ModelRegistry
from tests.tiny_bundle import image_parts, text_parts

LINEAGE = {
    "checkpoint": {
        "sha256": "c" * 64,
        "run_id": "f" * 32,
        "git_commit": "1234abc",
        "data_fingerprint": "d" * 64,
        "metrics": {"accuracy": 0.98},
    },
    "created": "2025-01-01T00:00:00+00:00",
    "versions": {"torch": "2.13.0"},
}
GATE = GateResult(
    budget=0.005,
    samples=2500,
    delta=-0.001,
    bound=-0.004,
    agreement=0.99,
    batch_invariant=True,
    reason="passed",
)


@pytest.fixture(autouse=True)
def folder_of_its_own(tracking_uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts into ./mlruns


@pytest.mark.parametrize("make", [image_parts, text_parts])
def test_property_24_version_tells_everything_of_its_bundle(make, tmp_path):
    parts = make(**LINEAGE)
    (fp32,) = parts.manifest.variants
    refused = Variant(name="int8", file=None, gate=replace(GATE, reason="lost 3 points"))
    variants = (replace(fp32, certified=True, gate=GATE), refused)
    manifest = replace(parts.manifest, variants=variants)
    bundle = replace(parts, manifest=manifest).write(tmp_path / "bundle")

    number = ModelRegistry().register(bundle.path).number
    version = ModelRegistry().get(bundle.manifest.name, number)

    facts = version.metadata
    assert version.name == bundle.manifest.name
    assert datetime.now(UTC) - version.created < timedelta(minutes=5)
    assert version.run_id
    assert facts["manifest_sha256"] == sha256_file(bundle.path / "manifest.json")
    assert facts["task"] == bundle.manifest.task
    assert facts["labels"] == list(bundle.manifest.labels)
    assert facts["label_count"] == len(bundle.manifest.labels)
    assert facts["inputs"] == bundle.manifest.to_dict()["inputs"]
    assert facts["outputs"] == bundle.manifest.to_dict()["outputs"]
    assert facts["preprocessing"] == bundle.manifest.preprocessing.sha256
    assert facts["metrics"] == {"accuracy": 0.98}
    assert facts["default_variant"] == "fp32"
    assert facts["precision"] == "fp32"
    assert facts["certified"] is True
    assert facts["model_bytes"] == bundle.file("model.onnx").stat().st_size
    assert facts["bytes"] == sum(entry.bytes for entry in bundle.manifest.files.values())
    for key, value in LINEAGE.items():
        assert facts[f"lineage.{key}"] == value
    for variant in bundle.manifest.to_dict()["variants"]:
        assert facts[f"variant.{variant['name']}"] == variant
    assert json.loads(json.dumps(version.to_dict()))["metadata"] == facts


def test_property_24_metadata_is_there_for_every_version(tmp_path):
    registry = ModelRegistry()
    for seed in range(3):
        registry.register(image_parts(seed=seed).write(tmp_path / str(seed)).path)

    facts = [version.metadata for version in registry.versions("digits")]

    assert len({found["manifest_sha256"] for found in facts}) == 3
    assert all(found.keys() == facts[0].keys() for found in facts)


def test_property_24_metrics_of_the_training_run_are_added(tracking_uri, tmp_path):
    client = MlflowClient(tracking_uri)
    run = client.create_run(client.create_experiment("training"))
    client.log_metric(run.info.run_id, "test/accuracy", 0.97)
    bundle = image_parts(**LINEAGE).write(tmp_path / "bundle")

    version = ModelRegistry().register(bundle.path, run_id=run.info.run_id)

    assert version.metadata["metrics"] == {"accuracy": 0.98, "test/accuracy": 0.97}
    assert version.run_id == run.info.run_id


def test_property_24_everything_is_in_the_registry_itself_for_anyone_to_read(
    tracking_uri, tmp_path
):
    bundle = image_parts(**LINEAGE).write(tmp_path / "bundle")
    ModelRegistry().register(bundle.path)

    found = MlflowClient(tracking_uri).get_model_version_by_alias("digits", "candidate")

    assert found.tags["trainyard.task"] == "image-classification"
    assert json.loads(found.tags["trainyard.lineage.checkpoint"])["git_commit"] == "1234abc"
