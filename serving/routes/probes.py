"""GET /health and its three probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from serving.catalog import Catalog
    from serving.drain import Lifecycle
    from serving.exchange import Exchange
    from serving.routing.table import RoutingTable

RETRY = {"Retry-After": "1"}


def probe_endpoints(lifecycle: Lifecycle, catalog: Catalog, table: RoutingTable) -> list[Endpoint]:
    """Unauthenticated, and cheap enough to be asked every second."""

    def answer(exchange: Exchange, document: Mapping[str, object], *, well: bool) -> Response:
        headers = {"Cache-Control": "no-store"}
        return exchange.answer(
            document, status=_status(well=well), headers=headers if well else headers | RETRY
        )

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


def bare(exchange: Exchange, *, well: bool) -> Response:
    """The answer of the Open Inference Protocol's probes: the status says it all."""
    headers = exchange.headers()
    return Response(b"", _status(well=well), headers if well else headers | RETRY)


def _status(*, well: bool) -> int:
    return 200 if well else 503
