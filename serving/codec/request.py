"""What a request asks for, whatever form its body had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bundle.quotation import LIMIT, shorten
from serving.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SAMPLE_FIELDS = ("image", "text", "inputs")
OPTION_FIELDS = ("model", "version", "timeout_ms", "priority", "key", "id")
LONGEST_TEXT_OPTION = 256
LOWEST_PRIORITY = 1000
LONGEST_TIMEOUT_MS = 1e12
"""Not reached; 30 years."""


class Sample(NamedTuple):
    """One sample, undecoded: an image's bytes, a text, or nested lists by tensor."""

    field: str
    value: Any
    path: str = ""
    """Where in the body it lies: "" or "instances[3]"."""

    def located(self, field: str | None) -> str:
        """A field of this sample, as the sender would look for it."""
        return ".".join(part for part in (self.path, field or self.field) if part)


@dataclass(frozen=True, slots=True)
class Options:
    """Whom the request is for, and how it wants to be treated."""

    model: str | None = None
    version: str | None = None
    timeout_ms: float | None = None
    priority: int = 1
    """1 goes first."""
    key: str | None = None
    """Whose request this is: where traffic is split, one key stays with one version."""


_OPTIONS = frozenset(OPTION_FIELDS)
_NO_OPTIONS = Options()


class PredictRequest(NamedTuple):
    """A request for predictions, one for each sample."""

    samples: tuple[Sample, ...]
    options: Options


def read_options(fields: Mapping[str, Any], *, texts: bool = False) -> Options:
    """The options among the fields; None is as good as absent. Raises BadRequestError.

    With `texts` every value is a string, as in a form or a query.
    """
    if _OPTIONS.isdisjoint(fields):
        return _NO_OPTIONS

    def read(name: str, convert: Callable[[str, Any], Any], default: Any = None) -> Any:
        value = fields.get(name)
        return default if value is None else convert(name, value)

    return Options(
        model=read("model", _text),
        version=read("version", _version),
        timeout_ms=read("timeout_ms", _from_text(_timeout, float) if texts else _timeout),
        priority=read("priority", _from_text(_priority, int) if texts else _priority, 1),
        key=read("key", _text),
    )


def read_identity(fields: Mapping[str, Any]) -> str | int | None:
    """The request's own `id`, which its answer echoes, even one that says what else is wrong."""
    value = fields.get("id")
    return None if value is None else _identity("id", value)


def check_known(fields: Mapping[str, Any], known: tuple[str, ...], *, path: str = "") -> None:
    """Refuse a field that nothing would read."""
    for name in fields:
        if name not in known:
            raise BadRequestError(
                f"{shorten(name)!r} is not a field of {path or 'the request'}",
                code="unknown_field",
                field=".".join(part for part in (path, shorten(name)) if part),
                remedy=f"the fields are {', '.join(known)}",
            )


def take_sample(fields: Mapping[str, Any], *, path: str = "") -> tuple[str, Any]:
    """The one sample field and its value. Raises BadRequestError if there are none, or several."""
    found = [name for name in SAMPLE_FIELDS if fields.get(name) is not None]
    if len(found) == 1:
        return found[0], fields[found[0]]
    where = path or "the request"
    if not found:
        raise BadRequestError(
            f"{where} has no sample",
            code="missing_field",
            field=path or None,
            remedy=f"send one of {', '.join(SAMPLE_FIELDS)}",
        )
    raise BadRequestError(
        f"{where} has {' and '.join(found)}, and only one of them can be the sample",
        field=".".join(part for part in (path, found[1]) if part),
        remedy=f"send one of {', '.join(SAMPLE_FIELDS)}",
    )


def shown(value: object) -> str:
    """A value of a body, short and as JSON has it; of a list or an object only that it is one."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return shorten(
        json.dumps(value[:LIMIT] if isinstance(value, str) else value, ensure_ascii=False)
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT_OPTION:
        raise BadRequestError.of_field(
            name,
            f"must be a string of 1 to {LONGEST_TEXT_OPTION} characters, not {shown(value)}",
            remedy="send such a string, or leave it out",
        )
    return value


def whole(value: object) -> int | None:
    """The integer of 64 bits that a JSON number is, however it was written: 1.0 is 1. None for all
    else, also for what is larger, which could not be sent back.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and -(2**63) <= value < 2**64 else None


def _version(name: str, value: object) -> str:
    number = whole(value)
    return _text(name, value) if number is None else str(number)


def _identity(name: str, value: object) -> str | int:
    number = whole(value)
    return _text(name, value) if number is None else number


def _timeout(name: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value < LONGEST_TIMEOUT_MS
    ):
        raise BadRequestError.of_field(
            name,
            f"must be a number of milliseconds over 0 and under {LONGEST_TIMEOUT_MS:g}, "
            f"not {shown(value)}",
            remedy="send such a number, or leave it out for the server's own limit",
        )
    return float(value)


def _priority(name: str, value: object) -> int:
    number = whole(value)
    if number is None or not 1 <= number <= LOWEST_PRIORITY:
        raise BadRequestError.of_field(
            name,
            f"must be an integer from 1 (first) to {LOWEST_PRIORITY}, not {shown(value)}",
            remedy="send such a number, or leave it out",
        )
    return number


def _from_text(
    check: Callable[[str, object], Any], kind: Callable[[str], object]
) -> Callable[[str, Any], Any]:
    def convert(name: str, value: str) -> Any:
        try:
            number: object = kind(value) if value.isascii() and "_" not in value else value
        except ValueError:
            number = value
        return check(name, number)

    return convert
