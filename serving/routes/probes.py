"""GET /health and its three probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.codec.json import dump

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from serving.catalog import Catalog
    from serving.drain import Lifecycle
    from serving.exchange import Exchange
    from serving.routing.table import RoutingTable


def probe_endpoints(lifecycle: Lifecycle, catalog: Catalog, table: RoutingTable) -> list[Endpoint]:
    """Unauthenticated, and cheap enough to be asked every second."""

    def answer(exchange: Exchange, document: Mapping[str, object], *, well: bool) -> Response:
        status = 200 if well else 503
        headers = {**exchange.headers(), "Cache-Control": "no-store"}
        if not well:
            headers["Retry-After"] = "1"
        return Response(dump(document), status, headers, "application/json")

    async def health(_: Request, exchange: Exchange) -> Response:
        models: list[dict[str, object]] = []
        for info in catalog.infos():
            shares = table.shares(info.name)
            share = {"percent": shares.get(info.version, 0.0)} if shares else {}
            models.append({**info.summary(), **share})
        document: dict[str, object] = {"status": lifecycle.status, "models": models}
        if table.refused:  # the reason is for those who have a key: it may name folders
            document["refused"] = [{"name": r.name, "version": r.version} for r in table.refused]
        return answer(exchange, document, well=lifecycle.ready)

    async def live(_: Request, exchange: Exchange) -> Response:
        return answer(exchange, {"status": "alive"}, well=True)

    async def ready(_: Request, exchange: Exchange) -> Response:
        return answer(exchange, {"status": lifecycle.status}, well=lifecycle.ready)

    async def startup(_: Request, exchange: Exchange) -> Response:
        return answer(exchange, {"status": lifecycle.status}, well=lifecycle.started)

    return [
        Endpoint("/health", "GET", health),
        Endpoint("/health/live", "GET", live),
        Endpoint("/health/ready", "GET", ready),
        Endpoint("/health/startup", "GET", startup),
    ]
