from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bundle.finite import all_finite

ARRAYS = st.sampled_from(["float16", "float32", "float64", "int32", "bool"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=5))
)


@given(ARRAYS, st.booleans())
def test_all_finite_is_what_numpy_says_of_every_number(array, turned):
    array = array.T if turned else array
    assert all_finite(array) == bool(np.isfinite(array).all())


@pytest.mark.parametrize("size", [1, 5000])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_number_that_is_not_finite_is_found_among_large_ones(dtype, wrong, size):
    array = np.full(size, np.finfo(dtype).max, dtype)
    assert all_finite(array)
    array[-1] = wrong
    assert not all_finite(array)
