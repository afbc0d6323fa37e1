"""The OpenAPI document of servers that hold nothing, or have routes that it knows nothing of."""

from __future__ import annotations

from serving.application import Endpoint
from serving.catalog import Catalog
from serving.guard import ADMIN, PREDICT
from serving.openapi.document import OpenApi
from serving.settings import Settings


async def unused(request, exchange):
    raise NotImplementedError


def build(*endpoints: Endpoint, keyed: bool = False, hidden: tuple[str, ...] = ()) -> dict:
    return OpenApi(
        Settings(),
        catalog=Catalog(),
        endpoints=endpoints,
        hidden=hidden,
        index="/v2/repository/index",
        keyed=keyed,
        version="1",
    ).build()


def test_a_server_without_models_takes_no_body():
    paths = build(Endpoint("/predict", "POST", unused, PREDICT))["paths"]
    content = paths["/predict"]["post"]["requestBody"]["content"]
    assert content == {"application/json": {"schema": {"not": {}}}}


def test_a_route_that_it_knows_nothing_of_is_listed_with_its_parameters_and_errors():
    endpoint = Endpoint("/admin/{what}/{rest:path}", "POST", unused, ADMIN)
    operation = build(endpoint, keyed=True)["paths"]["/admin/{what}/{rest}"]["post"]
    assert [entry["name"] for entry in operation["parameters"]] == ["what", "rest"]
    assert {"200", "400", "401", "403", "404", "503"} <= operation["responses"].keys()
    assert operation["security"] == [{"bearer": []}, {"header": []}]


def test_what_asks_the_registry_may_find_nothing_or_nobody_and_a_change_may_come_too_late():
    paths = build(
        Endpoint("/admin/models", "GET", unused, ADMIN),
        Endpoint("/admin/models/{model}/rollback", "POST", unused, ADMIN),
        Endpoint("/v2/repository/models/{model}/load", "POST", unused, ADMIN),
    )["paths"]
    reading = paths["/admin/models"]["get"]["responses"]
    assert {"404", "503"} <= reading.keys()
    assert "409" not in reading
    changing = paths["/admin/models/{model}/rollback"]["post"]["responses"]
    assert changing["409"] == {"$ref": "#/components/responses/own-409"}
    assert "409" not in paths["/v2/repository/models/{model}/load"]["post"]["responses"]


def test_only_a_server_with_keys_asks_for_one():
    endpoint = Endpoint("/predict", "POST", unused, PREDICT)
    free = build(endpoint)
    assert "security" not in free["paths"]["/predict"]["post"]
    assert "securitySchemes" not in free["components"]
    schemes = build(endpoint, keyed=True)["components"]["securitySchemes"]
    assert schemes["header"]["name"] == "X-API-Key"


def test_only_the_path_that_lists_versions_takes_what_restricts_the_list():
    index, other = "/v2/repository/index", "/v2/repository/other"
    paths = build(*(Endpoint(path, "POST", unused, PREDICT) for path in (index, other)))["paths"]
    assert "requestBody" in paths[index]["post"]
    assert "requestBody" not in paths[other]["post"]


def test_what_is_not_supported_is_not_listed():
    endpoint = Endpoint("/v2/logging", "GET", unused)
    assert build(endpoint, hidden=("/v2/logging",))["paths"] == {}


def test_every_reference_of_the_document_leads_somewhere():
    document = build(
        Endpoint("/metrics", "GET", unused),
        Endpoint("/v2", "GET", unused),
        Endpoint("/admin/models/{model}/ramp", "POST", unused, ADMIN),
    )

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        if isinstance(node, list):
            return [found for value in node for found in references(value)]
        return []

    assert references(document)
    for reference in references(document):
        node: dict = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
