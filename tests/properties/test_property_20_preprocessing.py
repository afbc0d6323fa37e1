"""Property 20: one raw sample becomes the same tensors in training and in serving."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from bundle.archive import open_bundle
from bundle.model import Model
from bundle.preprocessing.config import INTERPOLATIONS, RESIZES, ImageConfig, PreprocessingConfig
from bundle.preprocessing.select import create_preprocessor
from bundle.preprocessing.text import TextPreprocessor
from tests.tiny_bundle import (
    encode,
    image_parts,
    pictures,
    text_config,
    text_parts,
    tokenizer_json,
)


@settings(max_examples=60)
@given(
    pixels=npst.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.just(3))),
    resize=st.sampled_from(RESIZES),
    interpolation=st.sampled_from(INTERPOLATIONS),
    channels=st.sampled_from([1, 3]),
)
def test_property_20_training_arrays_and_served_files_give_the_same_image(
    pixels, resize, interpolation, channels
):
    config = ImageConfig(
        height=8, width=7, channels=channels, resize=resize, interpolation=interpolation
    )
    training = create_preprocessor(config, assets={})
    serving = create_preprocessor(PreprocessingConfig.from_json(config.to_json()), assets={})

    from_array = training(pixels)["image"]

    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(serving(encode(pixels, kind))["image"], from_array)
    with Image.open(io.BytesIO(encode(pixels))) as picture:
        np.testing.assert_array_equal(serving(picture)["image"], from_array)
    batch = training.collate([training(pixels)] * 2)["image"]
    np.testing.assert_array_equal(batch, serving.collate([serving(encode(pixels))] * 2)["image"])


def test_property_20_jpeg_of_a_training_folder_is_decoded_as_the_upload_is(tmp_path):
    preprocessor = create_preprocessor(ImageConfig(height=8, width=7), assets={})
    (path := tmp_path / "photo.jpg").write_bytes(
        encode(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8), "JPEG")
    )

    with Image.open(path) as picture:
        from_file = preprocessor(picture)["image"]

    np.testing.assert_array_equal(preprocessor(path.read_bytes())["image"], from_file)


@settings(max_examples=60)
@given(
    st.lists(
        st.text("good bad film é 🎬 سيء\u0301\n", min_size=1).filter(str.strip),
        min_size=1,
        max_size=4,
    )
)
def test_property_20_texts_give_the_same_tokens(texts):
    training = TextPreprocessor(text_config(), tokenizer_json())
    config = PreprocessingConfig.from_json(text_config().to_json())
    serving = create_preprocessor(config, assets={"tokenizer.json": tokenizer_json()})

    expected = training.collate([training(text) for text in texts])
    actual = serving.collate([serving(text) for text in texts])

    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


@pytest.mark.parametrize(
    ("parts", "samples", "field"),
    [
        (image_parts(), pictures(4, seed=3), "image"),
        (text_parts(), ["good", "the bad bad film", "é 🎬"], "text"),
    ],
)
def test_property_20_loaded_bundle_prepares_as_the_trainer_did(parts, samples, field, tmp_path):
    training = create_preprocessor(
        parts.manifest.preprocessing,
        assets={name: data for name, data in parts.files.items() if isinstance(data, bytes)},
    )
    parts.write(tmp_path / "bundle")

    model = Model.load(tmp_path / "bundle", provider="cpu", threads=1)

    assert open_bundle(tmp_path / "bundle").manifest.preprocessing == training.config
    for sample in samples:
        expected = training(sample)
        actual = model.prepare({field: sample})
        assert expected.keys() == actual.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(actual[name], array)
            assert actual[name].dtype == array.dtype
