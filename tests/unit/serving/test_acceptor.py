"""Connections of one listening socket, taken by several."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest
import uvloop

from serving import acceptor
from serving.acceptor import Acceptor, Connection


class Kept(Connection):
    """Keeps the transports of whoever is connected, and answers with a name."""

    def __init__(self, name: str, kept: list[str]) -> None:
        self._name = name
        self._kept = kept

    def connection_made(self, transport):
        self._kept.append(self._name)
        self.transport = transport
        transport.write(self._name.encode())

    def shutdown(self):
        self.transport.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return request.param


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


async def ask(listener: socket.socket) -> str:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    answer = await asyncio.wait_for(reader.read(1), timeout=10)
    writer.close()
    return answer.decode()


def test_a_closed_acceptor_leaves_connections_to_the_others(run, listener):
    async def scene() -> None:
        kept: list[str] = []
        with listener.dup() as other:
            first = Acceptor(listener, lambda: Kept("a", kept), backlog=8)
            first.start()
            assert await ask(listener) == "a"
            first.close()
            Acceptor(other, lambda: Kept("b", kept), backlog=8).start()
            assert await ask(listener) == "b"

    run(scene())


def test_whoever_has_connected_when_it_closes_is_taken_and_told_to_end(run, listener):
    async def scene() -> None:
        kept: list[str] = []
        first = Acceptor(listener, lambda: Kept("a", kept), backlog=8)
        first.start()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        first.close()
        await first.wait_closed()
        for client in clients:
            client.settimeout(10)
            assert await asyncio.to_thread(client.recv, 2) == b"a"
            assert await asyncio.to_thread(client.recv, 2) == b""
            client.close()

    run(scene())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_the_last_lets_nobody_in_whom_it_would_not_take(run, listener):
    async def scene() -> None:
        kept: list[str] = []
        last = Acceptor(listener, lambda: Kept("a", kept), backlog=8, leave=lambda: True)
        last.start()
        with socket.create_connection(listener.getsockname(), timeout=10) as client:
            last.close()
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(
                    socket.create_connection, listener.getsockname(), timeout=0.2
                )
            await last.wait_closed()
            assert await asyncio.to_thread(client.recv, 2) == b"a"

    run(scene())


def test_a_connection_that_cannot_be_served_is_told_of(run, listener):
    async def scene() -> dict:
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _, found: told.set_result(found))

        def broken() -> Connection:
            raise TypeError("unexpected keyword")

        Acceptor(listener, broken, backlog=8).start()
        with socket.create_connection(listener.getsockname()):
            async with asyncio.timeout(10):
                return await told

    assert isinstance(run(scene())["exception"], TypeError)


def test_where_there_is_no_room_for_a_connection_it_waits(run, listener, monkeypatch):
    async def scene() -> None:
        monkeypatch.setattr(acceptor, "REST_SECONDS", 0.05)
        kept: list[str] = []
        full = Failing(listener, errno.EMFILE, times=2)
        Acceptor(full, lambda: Kept("a", kept), backlog=8).start()
        assert await ask(listener) == "a"
        assert full.left == 0

    run(scene())


class Failing:
    """A socket of which a connection cannot be taken, for so many times."""

    def __init__(self, listener: socket.socket, reason: int, *, times: int) -> None:
        self._listener = listener
        self._reason = reason
        self.left = times

    def accept(self):
        if self.left:
            self.left -= 1
            raise OSError(self._reason, "cannot be taken")
        return self._listener.accept()

    def __getattr__(self, name):
        return getattr(self._listener, name)


def test_who_has_more_leaves_a_connection_to_others_and_takes_it_if_they_do_not(run, listener):
    async def scene() -> None:
        kept: list[str] = []
        with listener.dup() as other:
            full = Acceptor(listener, lambda: Kept("a", kept), backlog=8, crowded=lambda: True)
            full.start()
            assert await ask(listener) == "a"
            Acceptor(other, lambda: Kept("b", kept), backlog=8).start()
            assert [await ask(listener) for _ in range(20)].count("b") > 10

    run(scene())


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("reason", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN])
def test_what_became_of_one_connection_is_not_told_and_keeps_no_other_from_being_taken(
    run, listener, crowded, reason
):
    async def scene() -> None:
        told: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, found: told.append(found))
        failing = Failing(listener, reason, times=3)
        Acceptor(failing, lambda: Kept("a", []), backlog=8, crowded=lambda: crowded).start()
        assert [await ask(listener) for _ in range(3)] == ["a"] * 3
        assert (failing.left, told) == (0, [])

    run(scene())


@pytest.mark.parametrize("crowded", [False, True])
def test_an_error_that_nobody_expects_is_told_and_the_next_connection_is_taken(
    run, listener, crowded
):
    async def scene() -> None:
        told: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, found: told.append(found))
        failing = Failing(listener, errno.EINVAL, times=2)
        Acceptor(failing, lambda: Kept("a", []), backlog=8, crowded=lambda: crowded).start()
        assert await ask(listener) == "a"
        assert [found["exception"].errno for found in told] == [errno.EINVAL] * 2

    run(scene())


def test_a_connection_that_is_gone_keeps_no_other_from_being_taken_at_the_end(run, listener):
    async def scene() -> None:
        kept: list[str] = []
        failing = Failing(listener, errno.EPROTO, times=2)
        last = Acceptor(failing, lambda: Kept("a", kept), backlog=8)
        last.start()
        with socket.create_connection(listener.getsockname()) as client:
            last.close()
            await last.wait_closed()
            client.settimeout(10)
            assert await asyncio.to_thread(client.recv, 2) == b"a"

    run(scene())


def test_an_acceptor_that_never_gets_a_connection_can_be_closed(run, listener):
    async def scene() -> None:
        failing = Failing(listener, errno.EPERM, times=10**9)
        last = Acceptor(failing, lambda: Kept("a", []), backlog=8)
        last.start()
        last.close()
        await last.wait_closed()

    run(scene())
