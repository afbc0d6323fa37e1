"""The listening socket at its end."""

from __future__ import annotations

import socket
import sys

import pytest

from serving.listener import let_nobody_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        opened = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip("no such address here")
    with opened:
        yield opened


def test_who_has_connected_is_served_and_nobody_else_gets_in(listener):
    address = listener.getsockname()[:2]
    with socket.create_connection(address, timeout=10) as before, listener.dup() as other:
        let_nobody_in(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        accepted, _ = other.accept()
        with accepted:
            before.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"bye")
            accepted.shutdown(socket.SHUT_WR)
            assert before.recv(3) == b"bye"
            assert before.recv(1) == b""
