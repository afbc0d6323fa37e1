"""Frames survive the way from process to process, whatever pieces they arrive in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving import wire
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


@pytest.mark.parametrize(
    "group",
    [
        {"x": np.zeros(200, np.uint8)},
        {"x": np.array(["\x01" * 50], dtype=object)},  # six characters each, in JSON
    ],
    ids=["tensor", "strings"],
)
def test_what_is_larger_than_a_frame_can_tell_is_refused_with_its_size(monkeypatch, group):
    message = Message("infer", {}, [group])
    size = sum(map(len, encode([message]))) - 4  # but for the length itself
    monkeypatch.setattr(wire, "MOST_BYTES", size)
    assert len(encode([message]))
    monkeypatch.setattr(wire, "MOST_BYTES", size - 1)
    with pytest.raises(WireError, match=rf"takes {size} bytes, at most {size - 1} are"):
        encode([message])


class Uncopied(np.ndarray):
    """An array of which there is no room for a second one."""

    def tobytes(self, order="C"):
        raise MemoryError


def test_what_is_too_large_is_refused_before_it_is_copied(monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 100)
    group = {"x": np.zeros(200, np.uint8).view(Uncopied)}
    with pytest.raises(WireError, match="at most 100"):
        encode([Message("infer", {}, [group])])


def test_what_json_does_not_say_is_refused():
    with pytest.raises(WireError, match="surrogates"):
        encode([Message("infer", {}, [{"x": np.array(["\ud800"], dtype=object)}])])
