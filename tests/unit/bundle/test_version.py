from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bundle.registry.version import (
    MANIFEST_SHA256,
    MAX_TAG_CHARACTERS,
    ModelVersion,
    version_tags,
)
from tests.tiny_bundle import LOGITS, image_parts


def version_of(tags):
    return ModelVersion(
        name="m",
        number=1,
        aliases=(),
        created=datetime.now(UTC),
        run_id=None,
        source="",
        tags=tags,
    )


def metadata(manifest, **metrics):
    tags = version_tags(manifest, manifest_sha256="a" * 64, metrics=metrics)
    assert all(isinstance(value, str) for value in tags.values())
    assert max(map(len, tags.values())) <= MAX_TAG_CHARACTERS
    return version_of({**tags, "mine": "7"}).metadata


def test_tags_tell_what_the_manifest_tells():
    manifest = image_parts(git_commit="abc", data={"rows": 5000}).manifest

    facts = metadata(manifest, accuracy=0.98)

    assert facts["labels"] == ["cat", "dog", "owl"]
    assert facts["metrics"] == {"accuracy": 0.98}
    assert facts["lineage.git_commit"] == "abc"
    assert facts["lineage.data"] == {"rows": 5000}
    assert facts["variant.fp32"] == manifest.to_dict()["variants"][0]
    assert facts["manifest_sha256"] == "a" * 64
    assert "mine" not in facts


@pytest.mark.parametrize("name", ["2024", "true", "NaN", "1e3", '"a"', "digits"])
def test_names_that_read_like_other_values_stay_names(name):
    facts = metadata(image_parts(note=name).manifest)

    assert facts["lineage.note"] == name


def test_labels_are_cut_where_a_tag_ends_and_counted_whole():
    labels = tuple(f"class number {index}" for index in range(21_000))
    manifest = image_parts().manifest
    logits = replace(LOGITS, shape=(-1, len(labels)))

    facts = metadata(replace(manifest, labels=labels, outputs=(logits,)))

    assert facts["label_count"] == 21_000
    assert 100 < len(facts["labels"]) < 21_000
    assert facts["labels"] == list(labels[: len(facts["labels"])])


def test_lineage_that_is_too_long_is_described():
    facts = metadata(image_parts(config="x" * 9_000).manifest)

    assert facts["lineage.config"]["omitted"] == "9000 characters"
    assert len(facts["lineage.config"]["sha256"]) == 64


def test_keys_have_only_what_a_tag_may_have():
    manifest = image_parts(**{"größe/ß": 1}).manifest

    tags = version_tags(manifest, manifest_sha256="", metrics={})

    assert tags["trainyard.lineage.gr__e__"] == "1"


@pytest.mark.parametrize(
    ("tag", "known"),
    [
        ("0123456789abcdef" * 4, True),
        ("0123456789ABCDEF" * 4, False),
        ("a" * 63, False),
        ("a" * 64 + "\n", False),
        ("../" * 21 + "a", False),
        ("", False),
    ],
)
def test_only_a_hash_is_taken_for_the_hash_of_a_manifest(tag, known):
    assert version_of({MANIFEST_SHA256: tag}).manifest_sha256 == (tag if known else None)
