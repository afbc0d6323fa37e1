from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from optimize.errors import OptimizeError
from optimize.held_out import HeldOut, load_held_out
from tests.tiny_checkpoint import IMAGES, shared_checkpoint, train_tiny
from trainer.restore import Restored, restore


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Restored:
    return restore(shared_checkpoint(tmp_path_factory, "images"))


def held_out(*raw) -> HeldOut:
    return HeldOut(split="test", raw=raw, labels=np.zeros(len(raw)), fingerprint="")


def test_held_out_samples_are_the_test_split(digits):
    found = load_held_out(digits, digits.data(), max_samples=None)
    expected = digits.data().samples("test")
    assert found.split == "test"
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert len(found.raw) == len(expected)
    assert found.fingerprint == digits.metadata["data_fingerprint"]


def test_held_out_samples_are_as_many_as_asked_for(digits):
    data = digits.data()
    found = load_held_out(digits, data, max_samples=7)
    assert len(found.raw) == len(found.labels) == 7
    assert len(load_held_out(digits, data, max_samples=10**6).raw) == 179


def test_held_out_samples_are_known_by_their_content():
    assert held_out("a", "b").sha256 == held_out("a", "b").sha256
    assert held_out("a", "b").sha256 != held_out("b", "a").sha256
    assert len(set(held_out("a", "b", "a").digests)) == 2


def test_validation_split_is_taken_when_there_is_no_test_split(tmp_path):
    checkpoint = train_tiny(tmp_path / "run", *IMAGES, "data.test_fraction=0")
    restored = restore(checkpoint)
    assert load_held_out(restored, restored.data(), max_samples=None).split == "val"


def test_held_out_samples_are_refused_when_the_classes_have_changed(digits, monkeypatch):
    data = digits.data()
    monkeypatch.setattr(type(data), "labels", ("cat", "dog"))
    with pytest.raises(OptimizeError, match="the data now have the classes cat, dog"):
        load_held_out(digits, data, max_samples=None)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_golden_pixels_are_a_png_that_loses_nothing(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (sample,) = held_out(pixels).golden(4)
    decoded = np.asarray(Image.open(io.BytesIO(sample)))
    np.testing.assert_array_equal(decoded.reshape(shape), pixels)


def test_golden_samples_are_the_first_ones_that_are_not_large():
    large = "x" * (1 << 21)
    assert held_out("a", large, "b", "c").golden(2) == ["a", "b"]


def test_golden_sample_is_there_when_all_are_large():
    large = "x" * (1 << 21)
    assert held_out(large, large).golden(2) == [large]
