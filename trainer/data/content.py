"""What samples contain, as hashes: to find copies, and to say which data a run has seen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trainer.data.samples import IntArray, RawSample

DIGEST_BYTES = 16


def digest(sample: RawSample) -> bytes:
    """Hash of one sample's content. Raises UnicodeEncodeError for a text with lone surrogates."""
    if isinstance(sample, str):
        content, kind = sample.encode(), b"text"
    elif isinstance(sample, bytes):
        content, kind = sample, b"file"
    else:
        content, kind = sample.tobytes(), repr(sample.shape).encode()
    return hashlib.sha256(kind + b"\0" + content).digest()[:DIGEST_BYTES]


def fingerprint(
    digests: Iterable[bytes],
    labels: IntArray,
    *,
    classes: Sequence[str],
    splits: Mapping[str, IntArray],
) -> str:
    """sha256 over every sample's content and class and over who is in which split."""
    total = hashlib.sha256()
    for each in digests:
        total.update(each)
    total.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    total.update("\0".join(classes).encode())
    for name, indices in splits.items():
        total.update(f"\0{name}:{len(indices)}\0".encode())
        total.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return total.hexdigest()
