from __future__ import annotations

import numpy as np
import pytest

from optimize.passes.weights import quantize_weight


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [7, 8])
def test_error_is_at_most_half_a_step(axis, bits):
    weight = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    values, scales = quantize_weight(weight, axis=axis, bits=bits)
    assert values.dtype == np.int8
    assert scales.shape == (weight.shape[axis],)
    steps = np.expand_dims(scales, 1 - axis)
    assert (np.abs(values * steps - weight) <= steps * 0.5001).all()
    assert np.abs(values).max() == 2 ** (bits - 1) - 1


def test_zeros_stay_zeros():
    values, scales = quantize_weight(np.zeros((2, 3), np.float32), axis=1)
    assert not values.any()
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
