"""Compressed bodies become what they were, within bounds of memory and work."""

from __future__ import annotations

import gzip
import os
import zlib

import pytest

from serving.codec import compression
from serving.codec.compression import inflate
from serving.errors import BadRequestError, TooLargeError

CONTENT = os.urandom(100_000) + bytes(100_000)


def raw_deflate(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
)
@pytest.mark.parametrize("content", [CONTENT, b"", b"a"])
def test_inflate_gives_back_what_was_compressed(encoding, compress, content):
    assert inflate(compress(content), encoding, maximum=max(1, len(content))) == content
    with pytest.raises(BadRequestError, match="cut short"):
        inflate(compress(content)[:-1], encoding, maximum=10**6)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_inflate_refuses_one_byte_over_the_maximum(encoding, compress):
    with pytest.raises(TooLargeError):
        inflate(compress(CONTENT), encoding, maximum=len(CONTENT) - 1)


def test_inflate_joins_the_members_of_a_gzip_body():
    pieces = [CONTENT[at : at + 1000] for at in range(0, len(CONTENT), 1000)]
    body = b"".join(map(gzip.compress, pieces))
    assert inflate(body, "gzip", maximum=len(CONTENT)) == CONTENT
    with pytest.raises(BadRequestError, match="is not gzip"):
        inflate(body + b"rubbish", "gzip", maximum=len(CONTENT))


def test_inflate_refuses_what_follows_a_deflate_body():
    with pytest.raises(BadRequestError, match="3 bytes follow"):
        inflate(zlib.compress(CONTENT) + b"abc", "deflate", maximum=10**6)


def test_inflate_refuses_a_body_of_very_many_members():
    with pytest.raises(BadRequestError, match="more than 4096 members") as caught:
        inflate(gzip.compress(b"") * 5000, "gzip", maximum=1000)
    assert caught.value.code == "malformed_body"


def test_inflate_reads_no_byte_of_many_members_very_often(monkeypatch):
    given: list[int] = []

    make = zlib.decompressobj

    class Counting:
        def __init__(self, wbits):
            self.inner = make(wbits)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def decompress(self, piece, maximum):
            given.append(len(piece))
            return self.inner.decompress(piece, maximum)

    body = gzip.compress(b"") * 4000 + gzip.compress(os.urandom(4_000_000))
    monkeypatch.setattr(compression.zlib, "decompressobj", Counting)
    inflate(body, "gzip", maximum=5_000_000)
    assert sum(given) < 20 * len(body)
