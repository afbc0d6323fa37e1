from __future__ import annotations

import numpy as np
import pytest

from trainer.data.content import digest, fingerprint


def test_digest_tells_contents_shapes_and_kinds_apart():
    pixels = np.arange(12, dtype=np.uint8)
    samples = [b"a", "a", b"b", "", b"", pixels.reshape(3, 4), pixels.reshape(4, 3)]
    assert len({digest(sample) for sample in samples}) == len(samples)
    assert digest(pixels.reshape(3, 4)) == digest(pixels.reshape(3, 4).copy())
    assert digest(pixels.reshape(3, 4)) == digest(np.asfortranarray(pixels.reshape(3, 4)))


def test_digest_refuses_a_lone_surrogate():
    with pytest.raises(UnicodeEncodeError):
        digest("\ud800")


def test_fingerprint_changes_with_everything_it_covers():
    def of(digests=(b"x", b"y"), labels=(0, 1), classes=("a", "b"), train=(0, 1), val=()):
        splits = {"train": np.array(train, dtype=int), "val": np.array(val, dtype=int)}
        return fingerprint(digests, np.array(labels), classes=classes, splits=splits)

    variants = [
        of(),
        of(digests=(b"x", b"z")),
        of(labels=(1, 0)),
        of(classes=("a", "c")),
        of(train=(0,), val=(1,)),
        of(train=(0,)),
    ]
    assert len(set(variants)) == len(variants)
    assert of() == of()
    assert len(of()) == 64
