"""Fields: a strict reader of JSON objects, which names the field that is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bundle.errors import ManifestError

T = TypeVar("T")

_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def parse_json(text: str | bytes, *, name: str) -> Any:
    """Parse strict JSON: no NaN, no duplicate keys. Raises ManifestError."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ManifestError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(f"{name} is not valid JSON: {error}") from error


def canonical_json(value: object) -> str:
    """Sorted keys, two spaces, a newline at the end; NaN and infinities are refused."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} appears twice")
        result[key] = value
    return result


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    return _JSON_NAMES.get(type(value), type(value).__name__)


class Fields:
    """The fields of one JSON object; what is not taken before `done()` is unknown."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, Mapping):
            where = path or "the document"
            raise ManifestError(f"{where} must be an object, got {kind_of(value)}", field=path)
        self._values = dict(value)
        self._path = path
        self._taken: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def error(self, key: str, message: str) -> ManifestError:
        """An error that names the field `key`."""
        path = self.path(key)
        return ManifestError(f"{path} {message}", field=path)

    def _take(self, key: str) -> Any:
        self._taken.add(key)
        if key not in self._values:
            raise self.error(key, "is missing")
        return self._values[key]

    def _take_as(self, key: str, expected: type[T]) -> T:
        value = self._take(key)
        if type(value) is not expected:
            raise self.error(key, f"must be {_JSON_NAMES[expected]}, got {kind_of(value)}")
        return value

    def text(self, key: str) -> str:
        return self._take_as(key, str)

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, got {value!r}")
        return value

    def integer(self, key: str, *, minimum: int | None = None) -> int:
        value = self._take_as(key, int)
        if minimum is not None and value < minimum:
            raise self.error(key, f"must be at least {minimum}, got {value}")
        return value

    def number(self, key: str) -> float:
        value = self._take(key)
        if type(value) not in (int, float) or not _finite(value):
            raise self.error(key, f"must be a finite number, got {kind_of(value)}")
        return float(value)

    def boolean(self, key: str) -> bool:
        return self._take_as(key, bool)

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """None where the field is null, else what `read(key)` makes of it."""
        if self._take(key) is None:
            return None
        return read(key)

    def list(self, key: str) -> list[Any]:
        return self._take_as(key, list)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.list(key)
        for index, value in enumerate(values):
            if type(value) is not str:
                raise self.error(f"{key}[{index}]", f"must be a string, got {kind_of(value)}")
        return tuple(values)

    def integers(self, key: str) -> tuple[int, ...]:
        values = self.list(key)
        for index, value in enumerate(values):
            if type(value) is not int:
                raise self.error(f"{key}[{index}]", f"must be an integer, got {kind_of(value)}")
        return tuple(values)

    def object(self, key: str) -> dict[str, Any]:
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, got {kind_of(value)}")
        return value

    def nested(self, key: str) -> Fields:
        return Fields(self.object(key), self.path(key))

    def nested_list(self, key: str) -> Iterator[Fields]:
        for index, value in enumerate(self.list(key)):
            yield Fields(value, self.path(f"{key}[{index}]"))

    def done(self) -> None:
        """Refuse the fields that nothing has taken."""
        unknown = sorted(str(key) for key in self._values if key not in self._taken)
        if unknown:
            raise self.error(unknown[0], "is an unknown field")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
