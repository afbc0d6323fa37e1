"""What becomes of connections when the server stops accepting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from serving import protocol
from serving.protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += bytes(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


async def answer(scope, receive, send):
    await Response("here", headers={"Connection": "close"})(scope, receive, send)


def played(scene: Callable[[HttpProtocol, Wire], Awaitable[None]]) -> Wire:
    """On a connection that has just been made."""

    async def play() -> Wire:
        config = uvicorn.Config(answer, lifespan="off", log_config=None, http=HttpProtocol)
        config.load()
        connection = HttpProtocol(
            config=config, server_state=ServerState(), app_state={},
            head_seconds=10.0, on_refused=lambda status, code: None,
        )  # fmt: skip
        wire = Wire()
        connection.connection_made(wire)
        await scene(connection, wire)
        connection.connection_lost(None)
        return wire

    return asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_connection_on_which_nothing_came_yet_is_answered_once_more():
    async def scene(connection, wire):
        connection.shutdown()
        connection.data_received(REQUEST)
        await until(lambda: wire.closed)

    assert played(scene).written.endswith(b"here")


def test_a_connection_on_which_nothing_comes_is_closed_soon(monkeypatch):
    monkeypatch.setattr(protocol, "LAST_SECONDS", 0.01)

    async def scene(connection, wire):
        connection.shutdown()
        assert not wire.closed
        await until(lambda: wire.closed)

    assert played(scene).written == b""


def test_a_request_that_is_on_its_way_is_answered():
    async def scene(connection, wire):
        connection.data_received(REQUEST[:9])
        connection.shutdown()
        connection.data_received(REQUEST[9:])
        await until(lambda: wire.closed)

    assert played(scene).written.endswith(b"here")


@pytest.mark.parametrize("requests", [1, 3])
def test_a_connection_that_was_used_and_is_idle_is_closed_at_once(requests):
    async def keep_alive(scope, receive, send):
        await Response("here")(scope, receive, send)

    async def scene(connection, wire):
        connection.app = keep_alive
        for number in range(requests):
            connection.data_received(REQUEST)
            await until(lambda number=number: wire.written.count(b"here") == number + 1)
        assert not wire.closed
        connection.shutdown()
        assert wire.closed

    played(scene)
