from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.noise import uniforms

indices = st.lists(st.integers(0, 2**31), min_size=1, max_size=20, unique=True)


@given(indices, st.integers(0, 2**32), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_noise_of_a_sample_is_the_same_in_every_batch(numbers, seed, epoch, random):
    whole = uniforms(seed, epoch, np.array(numbers), count=5)
    order = list(range(len(numbers)))
    random.shuffle(order)
    some = order[: len(order) // 2 + 1]

    part = uniforms(seed, epoch, np.array(numbers)[some], count=3)

    assert np.array_equal(part, whole[some, :3])


def test_noise_differs_with_seed_epoch_index_and_stream():
    index = np.arange(1)
    rows = [
        uniforms(0, 0, index, count=4),
        uniforms(1, 0, index, count=4),
        uniforms(0, 1, index, count=4),
        uniforms(0, 0, index + 1, count=4),
        uniforms(0, 0, index, count=4, stream=1),
    ]
    assert len({row.tobytes() for row in rows}) == len(rows)


def test_noise_is_uniform_and_uncorrelated():
    numbers = uniforms(0, 0, np.arange(20_000), count=4)

    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert np.all(np.abs(counts - 4000) < 5 * np.sqrt(4000))
    assert np.all(np.abs(np.corrcoef(numbers.T) - np.eye(4)) < 0.03)
    neighbours = np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]
    assert abs(neighbours) < 0.03


def test_noise_is_what_it_was():
    """A new value here makes every run that was cut short resume differently."""
    numbers = uniforms(1, 2, np.array([3]), count=2, stream=1)
    assert numbers.tolist() == [[0.23420938193357888, 0.9862257549007198]]
