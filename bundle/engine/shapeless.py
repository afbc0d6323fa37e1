"""Which tensors an ONNX file tells no shape of: ONNX Runtime says [] of these as of scalars.

The bundle does without the package onnx, so that the few fields are read from the protocol buffer
itself, and what lies between them, the weights most of all, is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.engine.content import Buffer, content_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Field = tuple[int, int, int]
"""A field's number, and where its content starts and ends."""

_GRAPH = 7
_INPUT, _OUTPUT = 11, 12
_NAME, _TYPE = 1, 2
_TENSOR = 1
_SHAPE = 2
"""onnx.proto's numbers of ModelProto, GraphProto, ValueInfoProto, TypeProto and its Tensor."""
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5


def shapeless(model: Path | str | bytes) -> frozenset[str]:
    """The names of such inputs and outputs of a file, or of its content, that has been loaded."""
    with content_of(model) as content:
        return _find(content)


def _find(content: Buffer) -> frozenset[str]:
    found = set()
    for graph in _messages(content, (0, 0, len(content)), _GRAPH):
        for value in _messages(content, graph, _INPUT, _OUTPUT):
            (_, start, end), *_ = _messages(content, value, _NAME)
            shapes = [
                shape
                for kind in _messages(content, value, _TYPE)
                for tensor in _messages(content, kind, _TENSOR)
                for shape in _messages(content, tensor, _SHAPE)
            ]
            if not shapes:
                found.add(content[start:end].decode())
    return frozenset(found)


def _messages(content: Buffer, within: Field, *numbers: int) -> Iterator[Field]:
    _, at, end = within
    while at < end:
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == _DELIMITED:
            size, at = _varint(content, at)
            if number in numbers:
                yield number, at, at + size
            at += size
        elif kind == _VARINT:
            _, at = _varint(content, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a protocol buffer has no wire type {kind}")


def _varint(content: Buffer, at: int) -> tuple[int, int]:
    """The number that starts there, and where it has ended."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
