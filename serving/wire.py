"""What API processes and workers say to each other: a JSON header, then the tensors' bytes.

    frame   = u32 length of what follows, u32 length of the header, header, block, block, …
    header  = JSON: each message's kind, fields and number of tensor groups; then, of groups that
              follow each other and are alike, how many, and [name, dtype, shape] of their tensors
    block   = the tensors of one name of such groups, one after the other

Nothing is pickled: what came in over HTTP is never executed. Header and blocks are padded to 16
bytes, so that an array is a view on the frame it came in.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
_Layout = list[tuple[str, str, tuple[int, ...]]]

_LENGTHS = struct.Struct("<II")
MOST_BYTES = 2**32 - 1
"""Of a frame, whose length is told in four bytes."""
_ALIGNMENT = 16
_STRING = "string"

CATALOG = "catalog"
"""Worker → API process, first and at each change: {"serial", "models": [what it holds]}."""
RELEASED = "released"
"""API process → worker: {"serial"}: never again will anything be asked of what that catalog has no
longer."""
INFER = "infer"
"""API process → worker: run these tensors."""
CANCEL = "cancel"
"""API process → worker: nobody waits for {"ids": [...]} any more; of those in "begun" it
answers whether they run."""
REPLY = "reply"
"""Worker → API process: the answers to some of its requests."""


class WireError(Exception):
    """What came is no frame, so the connection is of no use; or what is to be said becomes none."""


class Message(NamedTuple):
    """What is said at once."""

    kind: str
    fields: dict[str, Any]
    tensors: Sequence[Tensors] = ()
    """One group for each of the parts, or answers, that it is about."""

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        size = 0
        for group in self.tensors:
            for array in group.values():
                size += array.nbytes
        return size


def encode(messages: Sequence[Message]) -> list[bytes]:
    """A frame as pieces to be written one after the other. Raises WireError where it would be too
    large, or says what JSON does not.
    """
    runs: list[tuple[_Layout, list[Tensors]]] = []
    for message in messages:
        for group in message.tensors:
            if runs and _alike(group, runs[-1][1][-1]):
                runs[-1][1].append(group)
            else:
                runs.append((_layout(group), [group]))
    blocks: list[bytes] = []
    size = 0
    for layout, groups in runs:
        for name, dtype, _ in layout:
            if dtype != _STRING:
                block = len(groups) * groups[0][name].nbytes
                padding = -block % _ALIGNMENT
                size += block + padding
                if size > MOST_BYTES:  # before it is copied
                    raise _too_large(size)
                blocks += [group[name].tobytes() for group in groups]
                blocks.append(bytes(padding))
    header = _header(messages, runs)
    size += len(header) + 4
    if size > MOST_BYTES:
        raise _too_large(size)
    return [_LENGTHS.pack(size, len(header)) + header, *blocks]


def _header(
    messages: Sequence[Message], runs: Sequence[tuple[_Layout, Sequence[Tensors]]]
) -> bytes:
    document = {
        "messages": [(kind, fields, len(tensors)) for kind, fields, tensors in messages],
        "tensors": [(len(groups), layout, _strings(layout, groups)) for layout, groups in runs],
    }
    try:
        header = orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise WireError(f"it says what JSON does not: {error}") from error
    return header + b" " * (-(len(header) + _LENGTHS.size) % _ALIGNMENT)


def _too_large(size: int) -> WireError:
    return WireError(f"it takes {size} bytes, at most {MOST_BYTES} are sent at once")


def _layout(group: Tensors) -> _Layout:
    return [
        (name, _STRING if array.dtype == object else array.dtype.str, array.shape)
        for name, array in group.items()
    ]


def _alike(group: Tensors, other: Tensors) -> bool:
    """Whether they have one layout."""
    if len(group) != len(other):
        return False
    for name, array in group.items():
        beside = other.get(name)
        if beside is None or array.dtype != beside.dtype or array.shape != beside.shape:
            return False
    return True


def _strings(layout: _Layout, groups: Sequence[Tensors]) -> dict[str, list[list[str]]]:
    """What no block holds."""
    return {
        name: [group[name].ravel().tolist() for group in groups]
        for name, dtype, _ in layout
        if dtype == _STRING
    }


def decode(frame: bytes) -> list[Message]:
    """`frame` is all of it, from its first byte. Raises WireError."""
    try:
        _, header_length = _LENGTHS.unpack_from(frame)
        offset = _LENGTHS.size + header_length
        header = orjson.loads(frame[_LENGTHS.size : offset])
        groups: list[dict[str, Array]] = []
        for count, layout, strings in header["tensors"]:
            run: list[dict[str, Array]] = [{} for _ in range(count)]
            for name, dtype, shape in layout:
                if dtype == _STRING:
                    arrays = [
                        np.array(texts, dtype=object).reshape(shape) for texts in strings[name]
                    ]
                else:
                    kind = np.dtype(dtype)
                    number = count * math.prod(shape)
                    block = np.frombuffer(frame, kind, number, offset).reshape(count, *shape)
                    arrays = list(block) if shape else [block[index, ...] for index in range(count)]
                    offset += block.nbytes + -block.nbytes % _ALIGNMENT
                for group, array in zip(run, arrays, strict=True):
                    group[name] = array
            groups += run
        left = iter(groups)
        return [
            Message(kind, fields, list(itertools.islice(left, number)))
            for kind, fields, number in header["messages"]
        ]
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise WireError(f"a frame cannot be read: {error}") from error


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTHS.size:
            (length,) = struct.unpack_from("<I", self._buffer, start)
            end = start + 4 + length
            if len(self._buffer) < end:
                break
            yield bytes(memoryview(self._buffer)[start:end])
            start = end
        if start:
            del self._buffer[:start]
