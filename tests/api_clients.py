"""A client for each API process: which of them takes a new connection is left to chance."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx

from tests.running_server import CLIENT_SECONDS, RunningServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30.0
"""How long to knock until every process has opened."""


@contextmanager
def api_clients(server: RunningServer, count: int) -> Iterator[list[httpx.Client]]:
    """`count` clients, each with one connection that it keeps, to as many processes."""
    found: dict[int, httpx.Client] = {}
    limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
    deadline = time.monotonic() + SECONDS
    with ExitStack() as stack:
        while len(found) < count:
            assert time.monotonic() < deadline, "some API process takes no connection"
            client = stack.enter_context(
                httpx.Client(
                    base_url=server.url, timeout=CLIENT_SECONDS, limits=limits, verify=False
                )
            )
            stream = client.get("/health/live").extensions["network_stream"]
            found.setdefault(_holder(server, stream.get_extra_info("client_addr")[1]), client)
        yield list(found.values())


def _holder(server: RunningServer, port: int) -> int:
    """The process id of the API process that has the connection from that port."""
    for process in server.children("api"):
        for connection in process.net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port:
                return process.pid
    raise AssertionError("no API process has the connection")
