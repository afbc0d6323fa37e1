"""Frames survive the way from process to process, whatever pieces they arrive in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.wire import Frames, Message, WireError, decode, encode

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


def all_same(sent, received) -> bool:
    return [list(group) for group in sent] == [list(group) for group in received] and all(
        same(one[name], other[name])
        for one, other in zip(sent, received, strict=True)
        for name in one
    )


@given(groups=GROUPS, cuts=st.lists(st.integers(1, 200), max_size=20))
def test_a_message_arrives_bit_for_bit_in_any_pieces(groups, cuts):
    data = b"".join(encode([Message("infer", {"model": ["größe", "1"]}, groups)])) * 2
    frames = Frames()
    found = []
    for cut in [*cuts, len(data)]:
        found += list(frames.feed(data[:cut]))
        data = data[cut:]
    assert len(found) == 2
    for [message] in map(decode, found):
        assert (message.kind, message.fields) == ("infer", {"model": ["größe", "1"]})
        assert all_same(groups, message.tensors)


@given(messages=st.lists(st.tuples(st.integers(0, 9), GROUPS), max_size=4), alike=st.integers(1, 4))
def test_messages_of_one_frame_arrive_in_order_each_with_its_tensors(messages, alike):
    sent = [Message("infer", {"id": number}, groups * alike) for number, groups in messages]
    received = decode(b"".join(encode(sent)))
    assert [(message.kind, message.fields) for message in received] == [
        (message.kind, message.fields) for message in sent
    ]
    for one, other in zip(sent, received, strict=True):
        assert all_same(one.tensors, other.tensors)


def test_arrays_that_arrive_are_aligned():
    group = {"a": np.zeros(3, "int8"), "b": np.ones(2)}
    [message] = decode(b"".join(encode([Message("infer", {}, [group, group])])))
    assert all(found["b"].flags.aligned for found in message.tensors)


def test_arrays_that_are_not_contiguous_are_sent_as_they_read():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2].T
    [message] = decode(b"".join(encode([Message("infer", {}, [{"a": array}])])))
    np.testing.assert_array_equal(message.tensors[0]["a"], array)


@pytest.mark.parametrize("frame", [b"", b"\x04\0\0\0\xff\0\0\0", b"\x08\0\0\0\x04\0\0\0nope"])
def test_decode_refuses_what_is_no_frame(frame):
    with pytest.raises(WireError):
        decode(frame)
