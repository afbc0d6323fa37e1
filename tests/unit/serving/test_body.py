"""Bodies are bounded in bytes and time, and media types are read as HTTP writes them."""

from __future__ import annotations

import asyncio

import pytest
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from serving.codec.body import MediaType, decode_text, read_body
from serving.errors import (
    BadRequestError,
    BodyTimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaError,
)

MAXIMUM = 100


class Sender:
    """Gives the chunks one by one; then hangs, or hangs up."""

    def __init__(self, *chunks: bytes, hangs_up: bool = False, hangs: bool = False) -> None:
        self.messages = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        self.hangs = hangs
        if hangs_up:
            self.messages.append({"type": "http.disconnect"})
        elif self.messages and not hangs:
            self.messages[-1]["more_body"] = False
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        if self.hangs and not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def read(sender: Sender, *, seconds: float = 5.0, **headers: str) -> bytes:
    given = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return asyncio.run(read_body(given, sender, maximum=MAXIMUM, seconds=seconds))


def test_read_body_joins_chunks_up_to_the_maximum():
    assert read(Sender(b"a" * 50, b"b" * 50)) == b"a" * 50 + b"b" * 50
    assert read(Sender(b"a" * MAXIMUM)) == b"a" * MAXIMUM
    assert read(Sender(b"")) == b""


@pytest.mark.parametrize("chunks", [(b"a" * 101,), (b"a" * 60, b"b" * 41)])
def test_read_body_refuses_one_byte_over_the_maximum(chunks):
    with pytest.raises(TooLargeError) as caught:
        read(Sender(*chunks))
    assert caught.value.headers == {"Connection": "close"}


@pytest.mark.parametrize("expect", ["", "100-continue"])
def test_read_body_does_not_ask_for_a_body_that_is_announced_as_too_large(expect):
    sender = Sender(b"a" * 120)
    with pytest.raises(TooLargeError):
        read(sender, content_length="120", expect=expect)
    assert sender.asked == 0


def test_read_body_asks_for_no_more_of_a_body_without_end():
    class Endless(Sender):
        async def __call__(self):
            self.asked += 1
            return {"type": "http.request", "body": bytes(MAXIMUM // 2 + 1), "more_body": True}

    sender = Endless()
    with pytest.raises(TooLargeError):
        read(sender)
    assert sender.asked == 2


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", ""])
def test_read_body_counts_where_the_announced_length_is_no_number(length):
    assert read(Sender(b"abc"), content_length=length) == b"abc"


@pytest.mark.parametrize("chunks", [(b"a" * 70,), (b"a" * 30, b"b" * 40, b"c" * 20)])
def test_read_body_ends_where_its_pieces_are_not_taken(chunks):
    taken = []

    def take(size: int) -> None:
        if sum(taken) + size > 60:
            raise UnavailableError("no room", code="overloaded")
        taken.append(size)

    sender = Sender(*chunks)
    with pytest.raises(UnavailableError):
        asyncio.run(read_body(Headers(), sender, maximum=MAXIMUM, seconds=5.0, take=take))
    kept = [len(chunk) for chunk in chunks[:-2]]
    assert [size for size in taken if size] == [*kept, *(-size for size in kept)]


def test_read_body_gives_up_on_a_body_that_does_not_come():
    with pytest.raises(BodyTimeoutError):
        read(Sender(b"a", hangs=True), seconds=0.01)


def test_read_body_notices_that_the_client_has_gone():
    with pytest.raises(ClientDisconnect):
        read(Sender(b"a", hangs_up=True))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; Charset=UTF-8", "application/json"),
        ("  image/PNG ", "image/png"),
        (None, ""),
        ("", ""),
    ],
)
def test_media_type_ignores_case_and_parameters(header, name):
    assert MediaType.parse(header).name == name


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("text/plain", "utf-8"),
        ("text/plain; charset=UTF-8", "utf-8"),
        ('text/plain; charset="utf-8"', "utf-8"),
        ("text/plain; charset=ISO-8859-1", "iso8859-1"),
        ("text/plain; charset=us-ascii", "ascii"),
    ],
)
def test_media_type_knows_its_text_encoding(header, encoding):
    assert MediaType.parse(header).text_encoding() == encoding


@pytest.mark.parametrize("charset", ["utf-16", "klingon", "", "base64", "x\x00y"])
def test_media_type_refuses_encodings_that_are_not_read(charset):
    with pytest.raises(UnsupportedMediaError):
        MediaType("text/plain", {"charset": charset}).text_encoding()


def test_decode_text_refuses_bytes_of_another_encoding():
    assert decode_text("größe".encode("latin-1"), "iso8859-1") == "größe"
    with pytest.raises(BadRequestError, match="not utf-8"):
        decode_text(b"\xff", "utf-8")
