"""One request from its headers to its answer: identity, clock, and what is measured of it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from bundle.quotation import shorten
from serving.codec.json import JSON, dump
from serving.errors import BadRequestError
from serving.metrics import RequestRecord
from serving.reply import Reply
from serving.request_id import choose_request_id
from serving.scope import DEPARTURE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from serving.departure import Departure
    from serving.errors import ServingError
    from serving.run import Run
    from serving.served_model import ModelInfo

REQUEST_ID = "X-Request-Id"
ROUTING_KEY = "X-Routing-Key"
MODEL_VERSION = "X-Model-Version"
_REQUEST_ID, _ROUTING_KEY, _MODEL_VERSION = map(str.lower, (REQUEST_ID, ROUTING_KEY, MODEL_VERSION))
_ENCODING = "content-encoding"
_UNPRINTABLE = re.compile(r"[^ -~]")


def _given_twice(scope: Scope) -> frozenset[str]:
    values: dict[str, set[bytes]] = {_MODEL_VERSION: set(), _ROUTING_KEY: set()}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name in values:
            values[name].add(value)
    return frozenset(name for name, found in values.items() if len(found) > 1)


def _all_encodings(scope: Scope) -> str:
    """Each was put on top of the one before, in however many lines they are."""
    raw = _ENCODING.encode("ascii")
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == raw)
    return ", ".join(filter(None, map(str.strip, values)))


@dataclass(slots=True)
class Exchange:
    """What is known of a request while it is answered."""

    request_id: str
    record: RequestRecord
    started: float = field(default_factory=time.monotonic)
    body_id: str | int | None = None
    """The `id` of the body, which answers carry in place of the request's."""
    model: ModelInfo | None = None
    error: str = ""
    """The code of the error it was answered with."""
    principal: str = ""
    """The name of the API key that it came with."""
    open_inference: bool = False
    """Whether errors have that protocol's shape."""
    given: Mapping[str, str] = field(default_factory=dict)
    """The request's headers by their names in lower case; of those that are alike the first, but
    all content encodings.
    """
    twice: frozenset[str] = frozenset()
    """Those of the headers that choose a version which came with two values."""
    departure: Departure | None = None
    """Of who has asked, where it is noticed."""
    routed: bool = False
    """Whether the model's route chose the version, rather than the client."""
    runs: list[Run] = field(default_factory=list)
    """Of its parts, as far as they ran."""
    held: int = 0
    """Bytes of its body that count as held by the process."""

    @classmethod
    def begin(cls, scope: Scope, *, route: str) -> Exchange:
        """Of the request with that scope, which the route answers."""
        given = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        twice: frozenset[str] = frozenset()
        if len(given) < len(scope["headers"]):
            twice = _given_twice(scope)
            if _ENCODING in given:
                given[_ENCODING] = _all_encodings(scope)
        path = scope["path"]
        exchange = cls(choose_request_id(given.get(_REQUEST_ID)), RequestRecord(route))
        exchange.given, exchange.twice = given, twice
        exchange.departure = scope.get(DEPARTURE)
        exchange.open_inference = path == "/v2" or path.startswith("/v2/")
        return exchange

    def named_version(self, given: str | None) -> str | None:
        """The version that is asked for: `given` in the body, query or path, or by the header.

        Raises BadRequestError where one names another version than the other.
        """
        header = self._once(_MODEL_VERSION)
        if given and header and given != header:
            raise BadRequestError(
                f"the request names version {shorten(given)}, and {MODEL_VERSION} "
                f"version {shorten(header)}",
                field="version",
                remedy="name one of them, and in one place",
            )
        return given or header or None

    def _once(self, name: str) -> str | None:
        if name in self.twice:
            raise BadRequestError.of_field(name, "is given twice, with two values")
        return self.given.get(name)

    @property
    def id(self) -> str | int:
        """What the body of the answer calls this request."""
        return self.request_id if self.body_id is None else self.body_id

    def routing_key(self, given: str | None = None) -> str:
        """What keeps a user with one version: the header, the body's key, the API key's name; a
        request without any of these is nobody's, and goes anywhere. Raises BadRequestError.
        """
        return self._once(_ROUTING_KEY) or given or self.principal or self.request_id

    def choose(self, model: ModelInfo, *, routed: bool) -> None:
        """The model that answers is known, and who has chosen its version."""
        self.routed = routed
        self.model = model
        self.record.model = model.name
        self.record.version = model.version
        self.record.variant = model.variant

    def phase(self, name: str, since: float) -> float:
        """A phase that began at `since` ends now. Returns now."""
        now = time.monotonic()
        self.record.phases[name] = now - since
        return now

    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        model = self.model
        told = {} if model is None else _of_model(model.version, model.variant)
        return {REQUEST_ID: self.request_id, **told}

    def timing(self, seconds: float) -> bytes:
        """What Server-Timing says, in milliseconds: the phases, and `seconds` altogether."""
        phases = self.record.phases
        spent = [value * 1000 for value in (*phases.values(), seconds)]
        return _timing_of(*phases) % tuple(spent)

    def reply(self, content: bytes) -> Response:
        """The answer that predictions, in JSON already, make."""
        model = self.model
        told = "" if model is None else _lines_of_model(model.version, model.variant)
        return Reply(content, f"{_REQUEST_ID}: {self.request_id}\r\n{told}".encode("ascii"))

    def answer(
        self, document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The answer that says what the document does; `headers` go out with it."""
        return Response(dump(document), status, {**self.headers(), **(headers or {})}, JSON)

    def refuse(self, error: ServingError) -> Response:
        """The answer to a request that failed."""
        self.error = error.code
        body = {"error": error.told()} if self.open_inference else error.body(self.id)
        return self.answer(body, status=error.status, headers=error.headers)


@lru_cache(maxsize=64)
def _timing_of(*phases: str) -> bytes:
    return b", ".join(b"%b;dur=%%.3f" % name.encode("ascii") for name in (*phases, "total"))


@lru_cache(maxsize=256)
def _of_model(version: str, variant: str) -> dict[str, str]:
    return {MODEL_VERSION: _latin(version), "X-Variant": _latin(variant)}


@lru_cache(maxsize=256)
def _lines_of_model(version: str, variant: str) -> str:
    told = _of_model(version, variant)
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in told.items())


def _latin(text: str) -> str:
    """A header's value: what does not fit into one is replaced."""
    return _UNPRINTABLE.sub("?", text)
