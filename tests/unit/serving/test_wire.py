"""Frames survive the way from process to process, whatever pieces they arrive in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.wire import Frames, WireError, decode, encode

ARRAYS = st.one_of(
    npst.arrays(
        dtype=st.sampled_from(["bool", "int8", "uint16", "int64", "uint64", "float16", "float32"]),
        shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.lists(st.text(max_size=5), max_size=4).map(lambda texts: np.array(texts, dtype=object)),
)
GROUPS = st.lists(st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=3), max_size=3)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    if left.dtype == object:
        return left.shape == right.shape and left.tolist() == right.tolist()
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


@given(groups=GROUPS, cuts=st.lists(st.integers(1, 200), max_size=20))
def test_a_message_arrives_bit_for_bit_in_any_pieces(groups, cuts):
    data = b"".join(encode("infer", {"id": 3, "model": ["größe", "1"]}, groups)) * 2
    frames = Frames()
    found = []
    for cut in [*cuts, len(data)]:
        found += list(frames.feed(data[:cut]))
        data = data[cut:]
    assert len(found) == 2
    for message in map(decode, found):
        assert (message.kind, message.fields) == ("infer", {"id": 3, "model": ["größe", "1"]})
        assert [list(group) for group in message.tensors] == [list(group) for group in groups]
        for sent, received in zip(groups, message.tensors, strict=True):
            assert all(same(sent[name], received[name]) for name in sent)


def test_arrays_that_arrive_are_aligned():
    frame = b"".join(encode("infer", {"id": 1}, [{"a": np.zeros(3, "int8"), "b": np.ones(2)}]))
    [group] = decode(frame).tensors
    assert group["b"].flags.aligned


def test_arrays_that_are_not_contiguous_are_sent_as_they_read():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2].T
    [group] = decode(b"".join(encode("infer", {}, [{"a": array}]))).tensors
    np.testing.assert_array_equal(group["a"], array)


@pytest.mark.parametrize("frame", [b"", b"\x04\0\0\0\xff\0\0\0", b"\x08\0\0\0\x04\0\0\0nope"])
def test_decode_refuses_what_is_no_frame(frame):
    with pytest.raises(WireError):
        decode(frame)
