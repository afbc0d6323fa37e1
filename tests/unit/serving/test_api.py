from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from types import MethodType, SimpleNamespace

import pytest

from serving import api
from serving.api import ApiProcess
from serving.crowd import Crowd
from serving.drain import DrainPlan


def test_api_process_freezes_what_it_holds_once_it_is_ready():
    sent: list[object] = []
    process = SimpleNamespace(
        _listening=True,
        _lifecycle=SimpleNamespace(started=True),
        _told_ready=False,
        _sender=SimpleNamespace(send=sent.append),
    )
    try:
        ApiProcess._tell_ready(process)
        assert len(sent) == 1
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_api_process_is_left_connections_once_it_listens():
    crowd = Crowd(2)
    other = crowd.place(0)
    other.tell(3)
    process = SimpleNamespace(_place=crowd.place(1), _tell_ready=lambda: None)
    assert not other.crowded
    ApiProcess._started_listening(process)
    assert other.crowded


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_nobody_is_let_in_when_who_has_connected_is_still_taken(monkeypatch):
    monkeypatch.setattr(api, "HALF_IN_SECONDS", 0.05)
    server = SimpleNamespace(config=SimpleNamespace(), should_exit=False)

    async def run(listener: socket.socket) -> None:
        process = SimpleNamespace(_listener=listener, _server=server)
        process._stop_serving = MethodType(ApiProcess._stop_serving, process)
        ApiProcess._stop_accepting(process, DrainPlan.begin(delay_ms=0, timeout_ms=3_600_000))
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.1)
        assert not server.should_exit
        async with asyncio.timeout(10):
            while not server.should_exit:
                await asyncio.sleep(0.001)

    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(run(listener))
    left = 3600 + api.GRACE_SECONDS
    assert left - (time.monotonic() - began) <= server.config.timeout_graceful_shutdown <= left
