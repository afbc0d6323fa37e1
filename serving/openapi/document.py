"""The OpenAPI document of a server: every route, with exact bodies for the models it serves now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serving.codec.json import JSON
from serving.guard import ADMIN
from serving.openapi import schema as schemas
from serving.openapi.answers import answers, components, json_content

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving.application import Endpoint
    from serving.catalog import Catalog
    from serving.openapi.schema import Schema
    from serving.served_model import ServedModel
    from serving.settings import Settings

OPENAPI = "3.1.0"
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_BINARY = (
    "Tensors may also follow the JSON as raw bytes, with the header "
    "Inference-Header-Content-Length: see the protocol's binary tensor data extension."
)


class OpenApi:
    """Made anew for each request: models come and go."""

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog,
        endpoints: Iterable[Endpoint],
        hidden: Iterable[str],
        index: str,
        keyed: bool,
        version: str,
    ) -> None:
        """`hidden`: paths that only say that they are not supported. `index`: the path that lists
        versions. `keyed`: there are API keys; without any nobody is asked for one.
        """
        unsupported = set(hidden)
        self._endpoints = [found for found in endpoints if found.path not in unsupported]
        self._settings = settings
        self._catalog = catalog
        self._index = index
        self._keyed = keyed
        self._version = version

    def build(self) -> dict[str, Any]:
        """The document, ready to be dumped as JSON."""
        served = [self._catalog.find(info.name, info.version) for info in self._catalog.infos()]
        paths: dict[str, dict[str, Any]] = {}
        for endpoint in self._endpoints:
            for path, operation in self._operations(endpoint, served):
                # Of several versions the first one answers where none is named.
                paths.setdefault(path, {}).setdefault(endpoint.method.lower(), operation)
        return {
            "openapi": OPENAPI,
            "info": {
                "title": "Trainyard",
                "version": self._version,
                "description": "Predictions of the models that this server holds now.",
            },
            "paths": paths,
            "components": components(keyed=self._keyed),
        }

    def _operations(
        self, endpoint: Endpoint, served: list[ServedModel]
    ) -> list[tuple[str, dict[str, Any]]]:
        path = endpoint.path
        if path == "/predict":
            return [(path, self._predict(endpoint, served))]
        if path == "/predict/batch":
            return [(path, self._predict_batch(endpoint, served))]
        if path.endswith("/infer"):
            return [self._infer(endpoint, one) for one in served]
        operation = self._operation(endpoint, answers(endpoint))
        names = _PARAMETER.findall(path)
        if names:
            operation["parameters"] = [_path_parameter(name, served) for name in names]
        if path == self._index:
            operation["requestBody"] = {"content": json_content(schemas.INDEX)}
        return [(_PARAMETER.sub(r"{\1}", path), operation)]

    def _predict(self, endpoint: Endpoint, served: list[ServedModel]) -> dict[str, Any]:
        bodies: list[Schema] = []
        found: list[Schema] = []
        content: dict[str, Any] = {}
        for index, one in enumerate(served):
            bodies += schemas.predict_body(one, default=index == 0)
            answer = schemas.prediction(one.manifest, batchable=one.info.batchable)
            found.append(_named(one, answer["properties"]))
            content |= _raw_content(one)
        operation = self._operation(
            endpoint, answers(endpoint, success=json_content(_any_of(found)))
        )
        operation["requestBody"] = _body({JSON: {"schema": _any_of(bodies)}, **content})
        if content:
            operation["description"] = (
                "With image/* and text/plain the options of the JSON body go into the query."
            )
        return operation

    def _predict_batch(self, endpoint: Endpoint, served: list[ServedModel]) -> dict[str, Any]:
        most = self._settings.max_batch_instances
        bodies: list[Schema] = []
        found: list[Schema] = []
        for index, one in enumerate(served):
            bodies += schemas.batch_body(one, default=index == 0, most=most)
            answer = schemas.prediction(one.manifest, batchable=one.info.batchable)
            item = answer["properties"].get("prediction", answer)
            found.append(_named(one, {"predictions": {"type": "array", "items": item}}))
        operation = self._operation(
            endpoint, answers(endpoint, success=json_content(_any_of(found)))
        )
        operation["requestBody"] = _body({JSON: {"schema": _any_of(bodies)}})
        return operation

    def _infer(self, endpoint: Endpoint, served: ServedModel) -> tuple[str, dict[str, Any]]:
        """Each model has a path of its own: what it takes depends on it."""
        path = endpoint.path.replace("{model}", quote(served.info.name, safe=""))
        path = path.replace("{version}", quote(served.info.version, safe=""))
        success = json_content(schemas.infer_answer(served))
        success |= {"application/octet-stream": {}}
        operation = self._operation(endpoint, answers(endpoint, success=success))
        operation["description"] = _BINARY
        operation["requestBody"] = _body({JSON: {"schema": schemas.infer_body(served)}})
        return path, operation

    def _operation(self, endpoint: Endpoint, responses: dict[str, Any]) -> dict[str, Any]:
        operation: dict[str, Any] = {"responses": responses}
        if endpoint.scope:
            operation["summary"] = f"Needs the scope {endpoint.scope}, where there are API keys."
            if endpoint.scope == ADMIN and not self._keyed:
                operation["summary"] = "Off, since this server has no API keys."
        if endpoint.scope and self._keyed:
            operation["security"] = [{"bearer": []}, {"header": []}]
        return operation


def _path_parameter(name: str, served: list[ServedModel]) -> dict[str, Any]:
    known = {
        "model": sorted({one.info.name for one in served}),
        "version": sorted({one.info.version for one in served}),
    }
    found = {"type": "string", "minLength": 1}
    if name in known:
        found |= {"enum": known[name]}
    return {"name": name, "in": "path", "required": True, "schema": found}


def _named(served: ServedModel, answer: dict[str, Schema]) -> Schema:
    return schemas.closed(
        {
            "id": {"type": ["string", "integer"]},
            "model": {"const": served.info.name},
            "version": {"const": served.info.version},
            **answer,
        }
    )


def _raw_content(served: ServedModel) -> dict[str, Any]:
    """What may be sent besides JSON: a picture or a text as it is, or a form."""
    if served.preprocessor is None:
        return {}
    field = served.preprocessor.sample_field
    whole: Schema = {"type": "string", "minLength": 1}
    form = schemas.closed(
        {field: whole, **{name: {"type": "string"} for name in ("model", *schemas.OPTIONS)}},
        required=[field],
    )
    media = ("image/png", "image/jpeg") if field == "image" else ("text/plain",)
    return {
        "multipart/form-data": {"schema": form},
        **{name: {"schema": whole | {"contentMediaType": name}} for name in media},
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _any_of(found: list[Schema]) -> Schema:
    """Nothing at all where there is nothing to choose from: no model is loaded yet."""
    if not found:
        return {"not": {}}
    return found[0] if len(found) == 1 else {"anyOf": found}
