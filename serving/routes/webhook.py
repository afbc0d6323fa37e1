"""POST /webhook: whoever has changed the registry, such as MLflow, says that it is worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.application import Endpoint
from serving.routes.small_body import SmallBodies
from serving.routing.messages import Look

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.arrivals import Arrivals
    from serving.exchange import Exchange
    from serving.signature import WebhookSignature


def webhook_endpoints(
    signature: WebhookSignature | None, send: Callable[[Look], None], arrivals: Arrivals
) -> list[Endpoint]:
    """None without a secret. `send` reaches the supervisor.

    The message says who rings, and not what to do: what has changed the registry itself says.
    """
    if signature is None:
        return []
    bodies = SmallBodies(arrivals)

    async def ring(request: Request, exchange: Exchange) -> Response:
        signature.check_head(request.headers)
        body = await bodies.read(request)
        signature.check(request.headers, body)
        send(Look())
        return exchange.answer({"id": exchange.id, "status": "accepted"})

    return [Endpoint("/webhook", "POST", ring)]
