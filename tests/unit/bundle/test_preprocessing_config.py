from __future__ import annotations

import dataclasses

import pytest

from bundle.errors import ManifestError, RequestError
from bundle.preprocessing.config import (
    LARGEST_MAX_PIXELS,
    ImageConfig,
    PreprocessingConfig,
    TextConfig,
)

SHA = "a" * 64


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"height": 0}, "height"),
        ({"height": True}, "height"),
        ({"width": -3}, "width"),
        ({"width": 1.5}, "width"),
        ({"width": 70_000}, "width"),
        ({"channels": 2}, "channels"),
        ({"resize": "squeeze"}, "resize"),
        ({"interpolation": "lanczos"}, "interpolation"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"max_pixels": LARGEST_MAX_PIXELS + 1}, "max_pixels"),
    ],
)
def test_image_config_names_the_field_that_cannot_be(changes, field):
    with pytest.raises(RequestError, match=f"{field}=") as found:
        ImageConfig(**{"height": 2, "width": 2, **changes})

    assert found.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_length": 0}, "max_length"),
        ({"max_length": "9"}, "max_length"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of"),
        ({"tokenizer": "../tokenizer.json"}, "tokenizer"),
        ({"tokenizer": ""}, "tokenizer"),
        ({"tokenizer_sha256": "A" * 64}, "tokenizer_sha256"),
    ],
)
def test_text_config_names_the_field_that_cannot_be(changes, field):
    with pytest.raises(RequestError, match=f"{field}=") as found:
        TextConfig(**{"max_length": 9, "tokenizer_sha256": SHA, **changes})

    assert found.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "audio"}, "preprocessing.kind"),
        ({"height": "big"}, "preprocessing.height"),
        ({"height": 0}, "preprocessing.height"),
        ({"resize": "squeeze"}, "preprocessing.resize"),
        ({"mean": 0.5}, "preprocessing.mean"),
    ],
)
def test_reading_a_config_names_the_field_that_is_wrong(change, field):
    with pytest.raises(ManifestError) as found:
        PreprocessingConfig.from_dict(ImageConfig(height=2, width=2).to_dict() | change)

    assert found.value.field == field


def test_reading_a_config_names_a_field_that_is_missing():
    document = ImageConfig(height=2, width=2).to_dict()
    del document["width"]

    with pytest.raises(ManifestError, match=r"preprocessing\.width is missing"):
        PreprocessingConfig.from_dict(document)


@pytest.mark.parametrize(
    "config",
    [ImageConfig(height=2, width=3), TextConfig(max_length=9, tokenizer_sha256=SHA)],
)
def test_config_hash_changes_with_every_field(config):
    changes = {
        "height": 9,
        "width": 9,
        "channels": 1,
        "resize": "pad",
        "interpolation": "nearest",
        "max_pixels": 9,
        "max_length": 8,
        "tokenizer": "other.json",
        "tokenizer_sha256": "b" * 64,
        "pad_to_multiple_of": 8,
    }
    hashes = {config.sha256}
    for field in dataclasses.fields(config):
        changed = dataclasses.replace(config, **{field.name: changes[field.name]})
        hashes.add(changed.sha256)

    assert len(hashes) == 1 + len(dataclasses.fields(config))


def test_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageConfig(height=2, width=2).height = 3
