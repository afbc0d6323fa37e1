"""Property 21: a preprocessing config survives every way it travels, and so does what it does."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.archive import open_bundle, write_bundle
from bundle.manifest import Manifest
from bundle.preprocessing.config import (
    INTERPOLATIONS,
    LARGEST_MAX_PIXELS,
    RESIZES,
    ImageConfig,
    PreprocessingConfig,
    TextConfig,
)
from bundle.preprocessing.select import create_preprocessor
from tests.tiny_bundle import image_parts, pictures, text_parts

IMAGE_CONFIGS = st.builds(
    ImageConfig,
    height=st.integers(1, 65_535),
    width=st.integers(1, 65_535),
    channels=st.sampled_from([1, 3]),
    resize=st.sampled_from(RESIZES),
    interpolation=st.sampled_from(INTERPOLATIONS),
    max_pixels=st.integers(1, LARGEST_MAX_PIXELS),
)
TEXT_CONFIGS = st.builds(
    TextConfig,
    max_length=st.integers(1, 1_000_000),
    tokenizer=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    tokenizer_sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    pad_to_multiple_of=st.integers(1, 1_000_000),
)


@given(IMAGE_CONFIGS | TEXT_CONFIGS)
def test_property_21_config_survives_dict_and_json(config):
    assert PreprocessingConfig.from_dict(config.to_dict()) == config
    assert PreprocessingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    copy = PreprocessingConfig.from_json(config.to_json())
    assert copy == config
    assert type(copy) is type(config)
    assert copy.to_json() == config.to_json()
    assert copy.sha256 == config.sha256


@given(IMAGE_CONFIGS | TEXT_CONFIGS, IMAGE_CONFIGS | TEXT_CONFIGS)
def test_property_21_configs_have_one_hash_exactly_when_they_are_equal(first, second):
    assert (first.sha256 == second.sha256) == (first == second)


def test_property_21_config_survives_the_bundle(tmp_path):
    for parts in (image_parts(), text_parts()):
        folder = tmp_path / parts.manifest.name
        write_bundle(folder, manifest=parts.manifest, files=parts.files)

        config = open_bundle(folder).manifest.preprocessing

        assert config == parts.manifest.preprocessing
        assert config.sha256 == parts.manifest.preprocessing.sha256


@settings(max_examples=30)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    resize=st.sampled_from(RESIZES),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_property_21_config_read_back_prepares_the_same_tensors(**fields):
    config = ImageConfig(**fields)
    parts = image_parts()
    document = parts.manifest.to_dict() | {"preprocessing": config.to_dict()}
    document["files"] = {
        name: {"sha256": "0" * 64, "bytes": 0} for name in parts.manifest.referenced_files()
    }
    document["variants"][0] |= {"sha256": "0" * 64, "bytes": 0}
    copy = Manifest.from_json(json.dumps(document)).preprocessing
    before = create_preprocessor(config, assets={})
    after = create_preprocessor(copy, assets={})

    for picture in pictures(2):
        np.testing.assert_array_equal(before(picture)["image"], after(picture)["image"])
