"""POST /webhook: how much of it is read, and of how many, before it is known who rings."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from serving.arrivals import Arrivals
from serving.errors import SignatureError, UnavailableError
from serving.exchange import Exchange
from serving.metrics import RequestRecord
from serving.routes.small_body import MOST_AT_ONCE
from serving.routes.webhook import webhook_endpoints
from serving.signature import ID, SIGNATURE, TIMESTAMP, WebhookSignature

if TYPE_CHECKING:
    from serving.routing.messages import Look

SECRET = "sixteen letters!"


def signed() -> dict[str, str]:
    moment = str(int(time.time()))
    digest = hmac.new(SECRET.encode(), f"1.{moment}.{{}}".encode(), hashlib.sha256).digest()
    return {ID: "1", TIMESTAMP: moment, SIGNATURE: f"v1,{base64.b64encode(digest).decode()}"}


class Bell:
    """The endpoint, whose bodies arrive when they may."""

    def __init__(self) -> None:
        self.rung: list[Look] = []
        self.reads = 0
        self.arrive = asyncio.Event()
        [endpoint] = webhook_endpoints(WebhookSignature(SECRET), self.rung.append, Arrivals())
        self._handler = endpoint.handler

    async def _receive(self) -> dict[str, object]:
        self.reads += 1
        await self.arrive.wait()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def ring(self, headers: dict[str, str]) -> int:
        request = SimpleNamespace(headers=headers, receive=self._receive)
        exchange = Exchange("r", RequestRecord("/webhook"))
        return (await self._handler(request, exchange)).status_code


def test_of_a_message_without_a_signature_nothing_is_read():
    async def ring() -> None:
        bell = Bell()
        with pytest.raises(SignatureError):
            await bell.ring({})
        assert (bell.reads, bell.rung) == (0, [])

    asyncio.run(ring())


def test_so_many_messages_are_read_at_once_and_no_more():
    async def ring() -> None:
        bell = Bell()
        waiting = [asyncio.create_task(bell.ring(signed())) for _ in range(MOST_AT_ONCE)]
        while bell.reads < MOST_AT_ONCE:
            await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="too many"):
            await bell.ring(signed())
        bell.arrive.set()
        assert set(await asyncio.gather(*waiting)) == {200}
        assert await bell.ring(signed()) == 200
        assert len(bell.rung) == MOST_AT_ONCE + 1

    asyncio.run(ring())
