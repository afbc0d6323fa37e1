"""Raw tensors of many samples, or of many bytes."""

from __future__ import annotations

import numpy as np
import pytest

from serving.errors import BadRequestError, TooLargeError
from serving.intake import SMALL_BYTES
from serving.routes.infer import SMALL_RAW_BYTES, is_read_at_once
from serving.served_model import ServedModel
from tests.tiny_info import tensor_info

INFO = tensor_info("m", width=1)


@pytest.mark.parametrize(
    ("size", "head", "strings", "at_once"),
    [
        (SMALL_BYTES, None, True, True),
        (SMALL_BYTES + 1, None, False, False),
        (SMALL_RAW_BYTES, "100", False, True),
        (SMALL_RAW_BYTES, str(SMALL_BYTES), False, True),
        (SMALL_RAW_BYTES, str(SMALL_BYTES + 1), False, False),
        (SMALL_RAW_BYTES, "000000000001000000", False, False),
        (SMALL_RAW_BYTES, "9" * 40, False, False),
        (SMALL_RAW_BYTES, "-1", False, False),
        (SMALL_RAW_BYTES, "100", True, False),
        (SMALL_RAW_BYTES + 1, "100", False, False),
    ],
)
def test_raw_numbers_are_read_on_the_event_loop_even_if_they_are_many(size, head, strings, at_once):
    assert is_read_at_once(bytes(size), head, strings=strings) == at_once


def served() -> ServedModel:
    return ServedModel(INFO)


def test_too_many_samples_are_refused_before_anything_is_done_for_each():
    with pytest.raises(TooLargeError, match="65500 samples, at most 256"):
        served().from_tensors(
            {"x": np.zeros((65_500, 1), np.float32)}, batch_size=1, most_samples=256
        )


def test_samples_keep_their_places():
    parts = served().from_tensors(
        {"x": np.arange(5, dtype=np.float32)[:, np.newaxis]}, batch_size=2, most_samples=5
    )
    assert [part.indices for part in parts] == [(0, 1), (2, 3), (4,)]
    assert [part.tensors["x"].ravel().tolist() for part in parts] == [[0, 1], [2, 3], [4]]


def test_inputs_of_different_sizes_are_told_as_such_however_many_there_are():
    tensors = {"x": np.zeros((300, 1), np.float32), "z": np.zeros((2, 1), np.float32)}
    with pytest.raises(BadRequestError, match="different batch sizes: x 300, z 2"):
        served().from_tensors(tensors, batch_size=2, most_samples=5)
