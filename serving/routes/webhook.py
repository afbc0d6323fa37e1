"""POST /webhook: whoever has changed the registry, such as MLflow, says that it is worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from serving.application import Endpoint
from serving.codec.body import read_body
from serving.codec.json import dump
from serving.room import Room
from serving.routing.messages import Look

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from serving.arrivals import Arrivals
    from serving.exchange import Exchange
    from serving.signature import WebhookSignature

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0
MOST_AT_ONCE = 8
"""Messages that one API process reads at once: who sends them is known only when they are read."""


def webhook_endpoints(
    signature: WebhookSignature | None, send: Callable[[Look], None], arrivals: Arrivals
) -> list[Endpoint]:
    """None without a secret. `send` reaches the supervisor.

    The message says who rings, and not what to do: what has changed the registry itself says.
    """
    if signature is None:
        return []
    room = Room(MOST_AT_ONCE)

    async def ring(request: Request, exchange: Exchange) -> Response:
        signature.check_head(request.headers)
        with room:
            body = await arrivals.read(
                read_body(
                    request.headers, request.receive, maximum=MAX_BODY_BYTES, seconds=BODY_SECONDS
                )
            )
        signature.check(request.headers, body)
        send(Look())
        document = {"id": exchange.id, "status": "accepted"}
        return Response(dump(document), 200, exchange.headers(), "application/json")

    return [Endpoint("/webhook", "POST", ring)]
