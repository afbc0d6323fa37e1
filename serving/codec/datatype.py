"""The element types of the Open Inference Protocol, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from serving.wire import Array

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
}
"""A tensor's dtype → the protocol's name of it."""


def storage(dtype: str) -> np.dtype[np.generic]:
    """The little-endian numpy type whose bytes are the tensor's; that of bfloat16 is its bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def config_type(dtype: str) -> str:
    """As the model configuration calls it: TYPE_FP32."""
    return f"TYPE_{'STRING' if dtype == 'string' else DATATYPES[dtype]}"


def has_json(dtype: str) -> bool:
    """Whether values of that type can be written as JSON."""
    return dtype != "bfloat16"


def unpack_strings(content: bytes | memoryview, count: int) -> Array:
    """`count` elements of u32 length + UTF-8 bytes → object (count,). Raises ValueError."""
    view = memoryview(content)
    strings = np.empty(count, dtype=object)
    offset = 0
    for index in range(count):
        start = offset + 4
        if start > len(view):
            raise ValueError(f"ends before the length of element {index}")
        offset = start + int.from_bytes(view[offset:start], "little")
        if offset > len(view):
            raise ValueError(f"ends within element {index}")
        try:
            strings[index] = str(view[start:offset], "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"has bytes in element {index} that are not UTF-8") from error
    if offset != len(view):
        raise ValueError(f"has {len(view) - offset} bytes after its last element")
    return strings


def pack_strings(array: Array) -> bytes:
    """The reverse of `unpack_strings`."""
    pieces = []
    for value in array.ravel():
        content = str(value).encode()
        pieces += [len(content).to_bytes(4, "little"), content]
    return b"".join(pieces)
