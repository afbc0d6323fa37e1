"""Forms: the ones that browsers and curl send, and broken ones."""

from __future__ import annotations

import base64

import pytest

from serving.codec.multipart import parse_form
from serving.errors import BadRequestError

BOUNDARY = "line"


def form(*parts: bytes, end: bytes = b"--line--\r\n") -> bytes:
    return b"".join(b"--line\r\n" + part + b"\r\n" for part in parts) + end


def field(name: str, content: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content


def file(name: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="f"\r\n'
    return head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content


def test_parse_form_takes_a_file_as_bytes_and_fields_as_text():
    body = form(file("image", b"\x00\r\n--lin\xff"), field("model", "größe".encode()))
    assert parse_form(body, boundary=BOUNDARY) == {"image": b"\x00\r\n--lin\xff", "model": "größe"}


def test_parse_form_takes_a_text_as_file_or_field():
    assert parse_form(form(file("text", b"hi")), boundary=BOUNDARY) == {"text": "hi"}
    assert parse_form(form(field("text", b"hi")), boundary=BOUNDARY) == {"text": "hi"}


def test_parse_form_takes_an_image_field_as_base64():
    body = form(field("image", base64.b64encode(b"picture")))
    assert parse_form(body, boundary=BOUNDARY) == {"image": b"picture"}


def test_parse_form_keeps_an_empty_file():
    assert parse_form(form(file("image", b"")), boundary=BOUNDARY) == {"image": b""}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "end is missing"),
        (b"nothing like a form", "not a form"),
        (form(field("text", b"hi"), end=b""), "end is missing"),
        (form(b"\r\nno header"), "has no name"),
        (form(b"Content-Disposition: form-data\r\n\r\nx"), "has no name"),
        (form(field("text", b"a"), field("text", b"b")), "more than once"),
        (form(field("tekst", b"a")), "not a field"),
        (form(field("text", b"\xff\xfe")), "not UTF-8"),
        (form(field("image", b"!!")), "not base64"),
        (form(*[field(f"f{index}", b"") for index in range(20)]), "more than 16 parts"),
    ],
)
def test_parse_form_refuses_what_is_broken(body, message):
    with pytest.raises(BadRequestError, match=message):
        parse_form(body, boundary=BOUNDARY)


@pytest.mark.parametrize("boundary", [None, "", "x" * 1000])
def test_parse_form_refuses_a_boundary_that_is_none(boundary):
    with pytest.raises(BadRequestError, match="not a form"):
        parse_form(form(field("text", b"hi")), boundary=boundary)
