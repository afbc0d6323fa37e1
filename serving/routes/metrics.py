"""GET /metrics, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.guard import METRICS

if TYPE_CHECKING:
    from starlette.requests import Request

    from serving.exchange import Exchange
    from serving.scraper import Scraper


def metrics_endpoints(scraper: Scraper) -> list[Endpoint]:
    """Whoever asks while others are answered shares the next scrape."""

    async def metrics(request: Request, exchange: Exchange) -> Response:
        content, content_type = await scraper.text(request.headers.get("accept", ""))
        return Response(content, 200, {**exchange.headers(), "Content-Type": content_type})

    return [Endpoint("/metrics", "GET", metrics, METRICS)]
