"""GET /metrics, for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.guard import METRICS
from serving.scrape import scrape

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.exchange import Exchange


def metrics_endpoints() -> list[Endpoint]:
    """Adds up files, which is done beside the event loop."""

    async def metrics(request: Request, exchange: Exchange) -> Response:
        content, content_type = await asyncio.to_thread(scrape, request.headers.get("accept", ""))
        return Response(content, 200, {**exchange.headers(), "Content-Type": content_type})

    return [Endpoint("/metrics", "GET", metrics, METRICS)]
