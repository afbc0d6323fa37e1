"""GET /openapi.json: what this server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.application import Endpoint
from serving.guard import PREDICT
from serving.openapi.document import OpenApi
from serving.routes.open_inference import INDEX, UNSUPPORTED_PATHS, server_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.catalog import Catalog
    from serving.exchange import Exchange
    from serving.settings import Settings

PATH = "/openapi.json"


def with_openapi(
    endpoints: Sequence[Endpoint], *, settings: Settings, catalog: Catalog, keyed: bool
) -> list[Endpoint]:
    """The endpoints, and the one that tells of all of them."""

    async def openapi(_: Request, exchange: Exchange) -> Response:
        document = OpenApi(
            settings,
            catalog=catalog,
            endpoints=every,
            hidden=[path for path, _ in UNSUPPORTED_PATHS],
            index=INDEX,
            keyed=keyed,
            version=server_version(),
        ).build()
        return exchange.answer(document)

    every = [*endpoints, Endpoint(PATH, "GET", openapi, PREDICT)]
    return every
