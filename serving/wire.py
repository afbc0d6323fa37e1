"""What API processes and workers say to each other: a JSON header, then the tensors' bytes.

    frame   = u32 length of what follows, u32 length of the header, header, tensor, tensor, …
    header  = JSON, with [name, dtype, shape] of each tensor where a message carries tensors

Nothing is pickled: what came in over HTTP is never executed. Header and tensors are padded to 16
bytes, so that an array is a view on the frame it came in.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

_LENGTHS = struct.Struct("<II")
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
    """The peer speaks another protocol: the connection is of no use."""


@dataclass(frozen=True, slots=True)
class Message:
    """One frame, parsed."""

    kind: str
    fields: dict[str, Any]
    tensors: list[dict[str, Array]]
    """One dictionary for each entry of the header's "tensors"."""


def encode(kind: str, fields: Mapping[str, Any], tensors: Iterable[Tensors] = ()) -> list[bytes]:
    """The frame as pieces to be written one after the other."""
    layouts: list[list[Any]] = []
    buffers: list[bytes] = []
    size = 0
    for group in tensors:
        layout: list[Any] = []
        for name, array in group.items():
            if array.dtype == object:
                layout.append([name, _STRING, list(array.shape), array.ravel().tolist()])
                continue
            content = array.tobytes()
            padding = -len(content) % _ALIGNMENT
            buffers.append(content)
            if padding:
                buffers.append(bytes(padding))
            size += len(content) + padding
            layout.append([name, array.dtype.str, list(array.shape)])
        layouts.append(layout)
    header = orjson.dumps({"kind": kind, "fields": fields, "tensors": layouts})
    header += b" " * (-(len(header) + _LENGTHS.size) % _ALIGNMENT)
    return [_LENGTHS.pack(size + len(header) + 4, len(header)) + header, *buffers]


def decode(frame: bytes) -> Message:
    """`frame` is all of it, from its first byte. Raises WireError."""
    try:
        _, header_length = _LENGTHS.unpack_from(frame)
        offset = _LENGTHS.size + header_length
        header = orjson.loads(frame[_LENGTHS.size : offset])
        groups: list[dict[str, Array]] = []
        for layout in header["tensors"]:
            group: dict[str, Array] = {}
            for name, dtype, shape, *strings in layout:
                if dtype == _STRING:
                    group[name] = np.array(strings[0], dtype=object).reshape(shape)
                    continue
                kind = np.dtype(dtype)
                count = math.prod(shape)
                group[name] = np.frombuffer(frame, kind, count, offset).reshape(shape)
                length = count * kind.itemsize
                offset += length + -length % _ALIGNMENT
            groups.append(group)
        return Message(header["kind"], header["fields"], groups)
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
            yield bytes(self._buffer[start:end])
            start = end
        if start:
            del self._buffer[:start]
