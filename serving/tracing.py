"""Tracing: each request as spans, sent by OTLP over HTTP where an endpoint is configured.

The spans are made once the request has been answered, from what was measured of it anyway; without
an endpoint nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from serving.metrics import PHASES

if TYPE_CHECKING:
    from starlette.types import Scope

    from serving.exchange import Exchange

SERVICE_VARIABLE = "OTEL_SERVICE_NAME"
SERVICE = "trainyard"
FLUSH_SECONDS = 1.5
"""How long a process that leaves waits for its last spans to be sent."""
_SERVER_ERROR = 500


class Tracer:
    """Sends the spans of one process. Its threads start with it, so no fork may follow."""

    def __init__(self, endpoint: str) -> None:
        # Imported here because only who traces has them, and needs the time to import them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get(SERVICE_VARIABLE, SERVICE)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": name}),
            shutdown_on_exit=False,  # `close` does it, and does not wait for ever
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("trainyard.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._server_kind = SpanKind.SERVER
        self._error = StatusCode.ERROR
        self._in_context = set_span_in_context

    def record(self, scope: Scope, exchange: Exchange, *, status: int, seconds: float) -> None:
        """A request that has just been answered: one span, and one below it for each phase."""
        ended = time.time_ns()
        began = ended - int(seconds * 1e9)
        span = self._tracer.start_span(
            f"{scope['method']} {exchange.record.route}",
            context=self._propagator.extract(_headers(scope)),
            kind=self._server_kind,
            attributes=_attributes(scope, exchange, status),
            start_time=began,
        )
        if status >= _SERVER_ERROR:
            span.set_status(self._error, exchange.error)
        context = self._in_context(span)
        at = began
        for phase in PHASES:
            length = exchange.record.phases.get(phase)
            if length is None:
                continue
            until = min(ended, at + int(length * 1e9))
            self._tracer.start_span(
                phase, context=context, attributes=_model(exchange), start_time=at
            ).end(until)
            at = until
        span.end(ended)

    def close(self) -> None:
        """Send what is left, for a moment: a receiver that is away must not hold up the end."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)


def _headers(scope: Scope) -> dict[str, str]:
    """Those that a parent's trace context comes in."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in {b"traceparent", b"tracestate"}
    }


def _attributes(scope: Scope, exchange: Exchange, status: int) -> dict[str, Any]:
    """By OpenTelemetry's semantic conventions for HTTP servers, and ours."""
    found: dict[str, Any] = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "http.route": exchange.record.route,
        "http.response.status_code": status,
        "trainyard.request_id": exchange.request_id,
        "trainyard.samples": exchange.record.samples,
        **_model(exchange),
    }
    if exchange.error:
        found["error.type"] = exchange.error
    return found


def _model(exchange: Exchange) -> dict[str, Any]:
    record = exchange.record
    if not record.model:
        return {}
    return {
        "trainyard.model": record.model,
        "trainyard.version": record.version,
        "trainyard.variant": record.variant,
    }
