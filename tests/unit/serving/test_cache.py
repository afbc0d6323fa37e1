"""The cache of preprocessed inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bundle.errors import InputError
from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.text import TextPreprocessor
from serving.cache import OVERHEAD_BYTES, RowCache
from tests.tiny_bundle import encode, text_config, tokenizer_json

MODEL = ("m", "1", "fp32")
ROW = 8 * 8
ENTRY = ROW + OVERHEAD_BYTES


class Counts:
    """What the metrics are told."""

    def __init__(self) -> None:
        self.hits: list[bool] = []
        self.bytes = 0

    def cache(self, model, *, hit):
        assert model == MODEL
        self.hits.append(hit)

    def cache_bytes(self, size):
        self.bytes = size


@pytest.fixture
def counts():
    return Counts()


def preprocessor(side: int = 8) -> ImagePreprocessor:
    return ImagePreprocessor(ImageConfig(height=side, width=side, channels=1))


def picture(shade: int) -> bytes:
    return encode(np.full((9, 9), shade, np.uint8))


def test_the_same_content_is_preprocessed_once_and_gives_the_same_row(counts):
    cache = RowCache(10 * ENTRY, metrics=counts)
    first = cache.row(preprocessor(), picture(7), model=MODEL)
    again = cache.row(preprocessor(), bytes(picture(7)), model=MODEL)
    assert counts.hits == [False, True]
    assert again is first
    np.testing.assert_array_equal(again["image"], preprocessor()(picture(7))["image"])
    with pytest.raises(ValueError, match="read-only"):
        again["image"][0] = 1


def test_another_preprocessing_has_rows_of_its_own(counts):
    cache = RowCache(10 * ENTRY, metrics=counts)
    small = cache.row(preprocessor(4), picture(7), model=MODEL)
    large = cache.row(preprocessor(8), picture(7), model=MODEL)
    assert counts.hits == [False, False]
    assert (small["image"].shape, large["image"].shape) == ((1, 4, 4), (1, 8, 8))


def test_the_bytes_are_bounded_and_the_least_used_goes(counts):
    cache = RowCache(2 * ENTRY, metrics=counts)
    for shade in (1, 2, 1, 3, 1, 2):  # 3 takes the place of 2, then 2 that of 3
        cache.row(preprocessor(), picture(shade), model=MODEL)
        assert counts.bytes <= 2 * ENTRY
    assert counts.hits == [False, False, True, False, True, False]


def test_what_is_larger_than_the_cache_is_not_kept(counts):
    cache = RowCache(ENTRY - 1, metrics=counts)
    for _ in range(2):
        cache.row(preprocessor(), picture(1), model=MODEL)
    assert counts.hits == [False, False]
    assert counts.bytes == 0


def test_what_is_refused_is_refused_each_time(counts):
    cache = RowCache(10 * ENTRY, metrics=counts)
    for _ in range(2):
        with pytest.raises(InputError):
            cache.row(preprocessor(), b"no picture", model=MODEL)
    assert counts.bytes == 0


def test_texts_are_kept_too_and_a_lone_surrogate_is_refused_as_ever(counts):
    tokenizer = tokenizer_json()
    texts = TextPreprocessor(text_config(tokenizer), tokenizer)
    cache = RowCache(10_000, metrics=counts)
    rows = [cache.row(texts, "good film", model=MODEL) for _ in range(2)]
    assert rows[0] is rows[1]
    with pytest.raises(InputError, match="surrogate"):
        cache.row(texts, "\ud800", model=MODEL)


def test_many_threads_get_the_right_rows_and_the_bound_holds(counts):
    cache = RowCache(4 * ENTRY, metrics=counts)

    def ask(index: int) -> bool:
        row = cache.row(preprocessor(), picture(index % 9), model=MODEL)
        return bool((row["image"] == index % 9).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(500)))
    assert len(counts.hits) == 500
    assert 0 < counts.bytes <= 4 * ENTRY
