"""What a route may answer, by status; and the parts that all routes share."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from serving.codec.json import JSON
from serving.exchange import REQUEST_ID
from serving.guard import ADMIN
from serving.openapi.schema import ERROR, PROTOCOL_ERROR, Schema, closed

if TYPE_CHECKING:
    from serving.application import Endpoint

ANYWHERE = (400, 429, 500)
"""Besides what the route itself may answer: a head that is wrong, a quota, a fault."""
KEYED = (401, 403)
WITH_BODY = (404, 408, 413, 415, 503, 504)
OF_REGISTRY = (404, 503)
"""What it does not know, and where it is away."""
CHANGING = (409,)
_RETRY = (429, 503)
_STATUS: Schema = closed(
    {"status": {"enum": ["alive", "starting", "ready", "degraded", "draining"]}}
)
_MODELS: Schema = {
    "type": "array",
    "items": {"type": "object", "required": ["name", "version"]},
}
_HEALTH: Schema = {
    "type": "object",
    "properties": {**_STATUS["properties"], "models": _MODELS},
    "required": ["status", "models"],
}
_OBJECT: Schema = {"type": "object"}
_METADATA: Schema = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
}
_CONFIG: Schema = {"type": "object", "required": ["name", "max_batch_size", "input", "output"]}
_STATISTICS: Schema = closed({"model_stats": {"type": "array", "items": _OBJECT}})


def json_content(schema: Schema) -> dict[str, Any]:
    return {JSON: {"schema": schema}}


def answers(endpoint: Endpoint, *, success: dict[str, Any] | None = None) -> dict[str, Any]:
    """By status. `success`: the content of 200; None for what the path says."""
    path = endpoint.path
    content = _content(path) if success is None else success
    statuses = {*ANYWHERE}
    if endpoint.scope:
        statuses.update(KEYED)
    elif path == "/webhook":
        statuses.add(401)
    if endpoint.method == "POST":
        statuses.update(WITH_BODY)
    elif "{" in path:
        statuses.add(404)
    if path.startswith("/admin/"):
        statuses.update(OF_REGISTRY)
        if endpoint.changes:
            statuses.update(CHANGING)
    found: dict[str, Any] = {"200": {"description": "OK", "headers": _headers()}}
    if content:
        found["200"]["content"] = content
    for status in sorted(statuses):
        kind = "protocol" if path.startswith("/v2") else "own"
        found[str(status)] = {"$ref": f"#/components/responses/{kind}-{status}"}
    if path.startswith("/health") or path.endswith("/ready"):
        found["503"] = {
            "description": "Not ready",
            "headers": _headers(),
            **({"content": content} if content else {}),
        }
    if endpoint.scope == ADMIN and path.startswith("/v2"):
        found["501"] = {"$ref": "#/components/responses/protocol-501"}
    return found


def components(*, keyed: bool) -> dict[str, Any]:
    """Error answers of both shapes, and how keys are sent."""
    found: dict[str, Any] = {
        "schemas": {"own": ERROR, "protocol": PROTOCOL_ERROR},
        "responses": {
            f"{kind}-{status}": _error(kind, status)
            for kind in ("own", "protocol")
            for status in sorted({*ANYWHERE, *KEYED, *WITH_BODY, *CHANGING, 501})
        },
    }
    if keyed:
        found["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return found


def _error(kind: str, status: int) -> dict[str, Any]:
    headers = _headers()
    if status in _RETRY:
        headers["Retry-After"] = {"schema": {"type": "string"}, "description": "Seconds."}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers,
        "content": json_content({"$ref": f"#/components/schemas/{kind}"}),
    }


def _headers() -> dict[str, Any]:
    return {REQUEST_ID: {"schema": {"type": "string"}, "required": True}}


def _content(path: str) -> dict[str, Any]:
    """The content of 200; empty where the answer has no body."""
    if path == "/metrics":
        text = {"schema": {"type": "string"}}
        return {"text/plain": text, "application/openmetrics-text": text}
    if path == "/health":
        return json_content(_HEALTH)
    if path.startswith("/health/"):
        return json_content(_STATUS)
    if path.startswith("/v2/health") or path.endswith("/ready"):
        return {}
    if path.endswith("/index"):
        return json_content(_MODELS)
    if path.endswith("/stats"):
        return json_content(_STATISTICS)
    if path.endswith("/config"):
        return json_content(_CONFIG)
    if path.endswith(("{model}", "{version}")) and path.startswith("/v2"):
        return json_content(_METADATA)
    return json_content(_OBJECT)
