"""A receiver of OTLP over HTTP, as small as it can be and still read what exporters send."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.http_receiver import http_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler


class Receiver:
    """What has been received so far."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.services: set[str] = set()

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """Listens on a free port of this machine."""
    receiver = Receiver()

    def take(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        receiver.take(request.path, body)
        return ExportTraceServiceResponse().SerializeToString()

    with http_receiver(take, media_type="application/x-protobuf") as receiver.url:
        yield receiver


def attributes(span: Any) -> dict[str, Any]:
    """A span's attributes as Python's values."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
