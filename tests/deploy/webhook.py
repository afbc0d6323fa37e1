"""A receiver of Alertmanager's webhook."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.http_receiver import http_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler


class Webhook:
    """What has been received so far."""

    def __init__(self) -> None:
        self.url = ""
        self.alerts: list[dict[str, Any]] = []
        self.authorizations: set[str] = set()


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Listens on a free port of this machine."""
    received = Webhook()

    def take(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
        received.alerts += json.loads(body)["alerts"]
        received.authorizations.add(request.headers["Authorization"])
        return b""

    with http_receiver(take) as address:
        received.url = f"{address}/alerts"
        yield received
