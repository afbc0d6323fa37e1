"""multipart/form-data bodies, as browsers and `curl -F` send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.codec.json import decode_image
from serving.codec.request import OPTION_FIELDS, check_known
from serving.errors import BadRequestError

MAX_PARTS = 16
"""More than there are fields."""
KNOWN_FIELDS = ("image", "text", *OPTION_FIELDS)


@dataclass
class _Part:
    """One part of the form: a file if it has a file name, else a field."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition"))[1]


class _Collector:
    """The parser's callbacks: gathers the parts."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False
        self._name = bytearray()
        self._value = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self.parts.append(_Part())

    def _end_header(self) -> None:
        self.parts[-1].headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.complete = True


def parse_form(body: bytes, *, boundary: str | None) -> dict[str, Any]:
    """The form's fields by name; `image` is bytes, the others are text. Raises BadRequestError."""
    if not boundary:
        raise _malformed("its Content-Type has no boundary")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary.encode("latin-1", "replace"), collector.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise _malformed(str(error)) from error
    if not collector.complete:
        raise _malformed("its end is missing")
    fields: dict[str, Any] = {}
    for part in collector.parts:
        disposition = part.disposition
        if b"name" not in disposition:
            raise _malformed("a part has no name")
        name = _decode(disposition[b"name"], "a part's name")
        check_known({name: None}, KNOWN_FIELDS)
        if name in fields:
            raise BadRequestError(f"{name} is in the form more than once", field=name)
        fields[name] = _value(name, bytes(part.content), is_file=b"filename" in disposition)
    return fields


def _value(name: str, content: bytes, *, is_file: bool) -> Any:
    """An image that comes as a field rather than a file is base64, as in JSON."""
    if name == "image":
        return content if is_file else decode_image(_decode(content, name), name)
    return _decode(content, name)


def _decode(content: bytes, what: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError(
            f"{what} is not UTF-8: {error.reason} at byte {error.start}",
            code="invalid_field",
            field=what if what in KNOWN_FIELDS else None,
        ) from error


def _malformed(reason: str) -> BadRequestError:
    return BadRequestError(f"the body is not a form: {reason}", code="malformed_form")
