"""What becomes of connections: slow, endless or malformed ones, and when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from typing import TYPE_CHECKING

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from uvicorn.server import ServerState

from serving import leftover, protocol, reading
from serving.protocol import MAX_HEAD_BYTES, HttpProtocol
from serving.scope import ANSWER, REFUSED, WHOLE
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False

    def write(self, data):
        self.written += bytes(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


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


async def body(receive) -> bytes:
    """All of it, however it comes."""
    found, more = b"", True
    while more:
        message = await receive()
        found += message.get("body", b"")
        more = message.get("more_body", False)
    return found


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


def test_an_answer_to_who_has_just_left_is_no_fault(caplog):
    async def scene(connection, wire):
        gone = asyncio.Event()

        async def late(scope, receive, send):
            await gone.wait()
            assert scope[ANSWER](Response("here"))

        connection.app = late
        connection.data_received(REQUEST)
        wire.close()  # and the connection is told a little later
        gone.set()
        await until(lambda: not connection.tasks)

    assert played(scene).written == b""
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


class Host:
    """Connections over loopback to an application that answers what `open` says, when it is set."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.open = asyncio.Event()
        self.open.set()
        self.content = b"here"
        self.refused: list[tuple[int, str]] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.reads = False
        """Whether the body is asked for."""
        self.look: Callable[[], None] = lambda: None
        """Called for each request."""
        self.address = ("", 0)

    async def __call__(self, scope, receive, send):
        self.look()
        self.paths.append(scope["path"])
        await self.open.wait()
        if self.reads:
            self.bodies.append(await body(receive))
        status = scope[REFUSED].status if REFUSED in scope else 200
        response = Response(self.content, status, headers={"X-Path": scope["path"]})
        if not scope[ANSWER](response):
            await response(scope, receive, send)

    async def talk(self, *pieces: bytes) -> bytes:
        """What the server says to it, until it closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                return await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def hosting(*, head_seconds: float = 5.0, idle_seconds: int = 5) -> AsyncIterator[Host]:
    host = Host(ServerState())
    config = uvicorn.Config(
        host, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=idle_seconds
    )
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(
            config=config, server_state=host.state, app_state={},
            head_seconds=head_seconds, on_refused=lambda *told: host.refused.append(told),
        ),
        "127.0.0.1",
    )  # fmt: skip
    host.address = server.sockets[0].getsockname()
    try:
        yield host
    finally:
        server.close()
        for connection in list(host.state.connections):
            connection.transport.abort()


async def no_connection(host: Host) -> None:
    await until(lambda: not host.state.connections)


def statuses(received: bytes) -> list[str]:
    return [part[:3].decode() for part in received.split(b"HTTP/1.1 ")[1:]]


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "begin",
    [b"GET /v1 HTTP/1.1\r\nX: ", b"GET /v1 HTTP/1.1\r\nX", b"GET /v1", b"\r\n",
     CHUNKED + b"1\r\na\r\n0\r\nX: ", CHUNKED + b"1;x="],
    ids=["value", "name", "path", "lines", "trailer", "extension"],
)  # fmt: skip
def test_a_head_that_never_ends_is_431_before_it_fills_the_memory(begin):
    async def play():
        async with hosting() as host:
            more = b"\r\n" * 512 if begin == b"\r\n" else b"b" * 1024
            host.reads = begin.startswith(CHUNKED)
            received = await host.talk(begin, *[more] * 200)
            assert host.refused == [] if host.reads else [(431, "head_too_large")]
            assert statuses(received) == ["431"]

    asyncio.run(play())


@pytest.mark.parametrize("codings", [[b"gzip, chunked"], [b"GZIP", b"chunked"]])
def test_a_body_in_another_transfer_coding_is_501_and_not_taken_for_the_coded_one(codings):
    headers = b"".join([b"Transfer-Encoding: %b\r\n" % coding for coding in codings])

    async def play():
        async with hosting() as host:
            body = b"\r\n1\r\na\r\n0\r\n\r\n" + REQUEST
            received = await host.talk(b"POST / HTTP/1.1\r\nHost: a\r\n" + headers + body)
            assert statuses(received) == ["501"]
            assert b"Transfer-Encoding" in received
            assert host.refused == [(501, "not_supported")]

    asyncio.run(play())


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"chunked "])
def test_a_body_in_chunks_is_read(coding):
    async def play():
        async with hosting() as host:
            received = await host.talk(
                b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: "
                + coding
                + b"\r\n\r\n1\r\na\r\n0\r\n\r\n"
            )
            assert statuses(received) == ["200"]

    asyncio.run(play())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_no_part_of_a_head(chunked):
    size = 4 * MAX_HEAD_BYTES
    body = b"a" * size
    framing = b"Content-Length: %d" % size
    if chunked:
        framing = b"Transfer-Encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    begin = b"POST / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES - 1000) + b"\r\n"

    async def play():
        async with hosting() as host:
            last = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
            whole = begin + framing + b"\r\n\r\n" + body + last
            cuts = [0, 1000, 60_000, 100_000, len(whole) - 20, len(whole)]
            host.open.clear()
            pieces = [whole[a:b] for a, b in itertools.pairwise(cuts)]
            talking = asyncio.ensure_future(host.talk(*pieces))
            await until(lambda: bool(host.state.connections))
            connection = next(iter(host.state.connections))
            await until(lambda: connection.cycle is not None)
            await until(lambda: not connection.cycle.more_body or connection.flow.read_paused)
            if connection.cycle.more_body:  # as the application's asking for the body would
                connection.flow.resume_reading()
            await until(lambda: not connection.cycle.more_body)
            host.open.set()
            assert statuses(await talking) == ["200", "200"]
            assert host.refused == []

    asyncio.run(play())


def test_a_line_between_two_requests_does_not_keep_a_connection():
    async def play():
        async with hosting(idle_seconds=1) as host:
            reader, writer = await asyncio.open_connection(*host.address)
            writer.write(REQUEST)
            await reader.readuntil(b"here")
            writer.write(b"\r\n")
            await no_connection(host)
            writer.close()

    asyncio.run(play())


def test_who_is_answered_before_the_body_sees_the_answer_and_the_connection_ends(monkeypatch):
    monkeypatch.setattr(leftover, "DISCARD_SECONDS", 0.2)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n"

    async def play():
        async with hosting(idle_seconds=3600) as host:
            received = await host.talk(head, *[b"a" * 100_000] * 20)
            assert statuses(received) == ["200"]
            assert b"connection: close" in received
            assert received.endswith(b"here")
            reader, writer = await asyncio.open_connection(*host.address)
            writer.write(head)
            assert b"connection: close" in await reader.read()
            writer.write(b"a")
            await no_connection(host)
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("size", [8 * 2**20, 3 * 2**20])
@pytest.mark.parametrize("close", [b"close", b"keep-alive"])
def test_a_client_that_never_reads_is_cut_off(monkeypatch, caplog, size, close):
    monkeypatch.setattr(reading, "LOOK_SECONDS", 0.2)

    async def play():
        async with hosting(idle_seconds=1) as host:
            host.content = b"a" * size
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(host.address)
                client.sendall(b"GET / HTTP/1.1\r\nConnection: %b\r\n\r\n" % close * 3)
                await until(lambda: bool(host.state.connections))
                await no_connection(host)
                await until(lambda: not host.state.tasks)

    asyncio.run(play())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_reads_on_is_waited_for(monkeypatch):
    monkeypatch.setattr(reading, "LOOK_SECONDS", 0.0)

    class Reader(Wire):
        def __init__(self, left):
            super().__init__()
            self.left = left

        def get_write_buffer_size(self):
            return self.left.pop(0)

        abort = Wire.close

    async def play(left):
        wire = Reader(left)
        reading.Reading(wire, asyncio.get_running_loop()).watch()
        await until(lambda: wire.closed or not wire.left)
        return wire.closed

    assert not asyncio.run(play([300, 200, 1, 0]))
    assert asyncio.run(play([300, 200, 200]))


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        ([b"GET /sec"], "408", "head_timeout"),
        ([b"not http\r\n\r\n"], "400", "malformed_http"),
        ([REQUEST, b"not http\r\n\r\n"], "400", "malformed_http"),
        ([CHUNKED, b"nonsense\r\n"], "400", "malformed_http"),
        ([b"GET / HTTP/1.1\r\nX: " + b"b" * 70_000 + b"\r\n\r\n"], "431", "head_too_large"),
    ],
)
def test_what_is_wrong_with_a_later_request_is_told_after_the_answers(pieces, status, code):
    async def play():
        async with hosting(head_seconds=0.05, idle_seconds=3600) as host:
            host.open.clear()
            talking = asyncio.ensure_future(host.talk(REQUEST, *pieces))
            await until(lambda: bool(host.refused))
            assert not talking.done()
            host.open.set()
            received = await talking
            assert statuses(received) == ["200"] * (1 + pieces.count(REQUEST)) + [status]
            assert host.refused == [(int(status), code)]
            assert code.encode() in received

    asyncio.run(play())


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("reads", [True, False])
def test_a_malformed_body_is_the_end_of_its_own_request(caplog, reads, expects):
    async def play():
        async with hosting() as host:
            host.reads = reads
            request = CHUNKED.replace(b"\r\n\r\n", b"\r\n" + expects + b"\r\n")
            received = await host.talk(request + b"nonsense\r\n", REQUEST)
            assert statuses(received) == ["400"]
            assert b"connection: close" in received
            assert host.refused == []  # the application answers it, and counts it
            await until(lambda: not host.state.tasks)

    asyncio.run(play())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_head_is_not_late_while_the_requests_before_it_keep_it_from_being_read():
    async def play():
        async with hosting(head_seconds=0.05) as host:
            host.open.clear()
            last = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
            talking = asyncio.ensure_future(host.talk(REQUEST * 2 + last[:9], last[9:]))
            await asyncio.sleep(0.2)
            host.open.set()
            assert statuses(await talking) == ["200"] * 3

    asyncio.run(play())


@pytest.mark.parametrize("path", [b"/v2", b"/v2/models/m/infer", b"/predict"])
def test_what_is_refused_has_a_request_id_and_its_path_s_shape(path):
    async def play():
        async with hosting(head_seconds=0.05) as host:
            head, _, body = (await host.talk(b"POST " + path + b" HTTP/1.1\r\nX: ")).partition(
                b"\r\n\r\n"
            )
            [name] = [line[14:] for line in head.split(b"\r\n") if line[:14] == b"x-request-id: "]
            document = json.loads(body)
            if path == b"/predict":
                assert document["id"] == name.decode()
                assert document["error"]["remedy"]
            else:
                assert list(document) == ["error"]
                assert "within 50 ms" in document["error"]

    asyncio.run(play())


@pytest.mark.parametrize("abort", [True, False])
def test_who_leaves_while_it_has_asked_for_more_is_no_error_and_is_not_served_on(caplog, abort):
    async def play():
        async with hosting() as host:
            host.open.clear()
            _, writer = await asyncio.open_connection(*host.address)
            writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(50)))
            await until(lambda: bool(host.paths))
            writer.transport.abort() if abort else writer.close()
            await asyncio.sleep(0.05)
            host.open.set()
            await no_connection(host)
            await until(lambda: not host.state.tasks)
            return host.paths

    assert len(asyncio.run(play())) < 50
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("pieces", [1, 2, 20], ids=lambda pieces: f"in {pieces}")
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_who_would_rather_speak_another_protocol_is_answered_in_this_one(pieces, framed):
    head = (
        b"POST /mine HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    )
    last = b"GET /last HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    sent = head + framed + last

    async def play():
        async with hosting() as host:
            host.reads = True
            size = -(-len(sent) // pieces)
            pieced = [sent[start : start + size] for start in range(0, len(sent), size)]
            assert statuses(await host.talk(*pieced)) == ["200", "200"]
            return host.paths, host.bodies

    assert asyncio.run(play()) == (["/mine", "/last"], [b"hello", b""])


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("filler", [0, 35, 55, 58, 97])
def test_requests_in_a_row_that_ask_for_another_protocol_are_read_as_they_were_sent(filler):
    """Whatever becomes shorter by what is left out of their heads."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    one = b"POST /%d HTTP/1.1\r\nHost: a\r\nX-Note: GET /hidden\r\n%b" + UPGRADE.replace(
        b"h2c", b"h2c" + b"a" * filler
    )
    sent = b"".join(
        one % (number, b"Content-Length: %d\r\n" % len(hidden)) + b"\r\n" + hidden
        for number in range(4)
    )
    sent += b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"

    async def play():
        async with hosting() as host:
            host.reads = True
            assert statuses(await host.talk(sent)) == ["200"] * 5
            return host.paths, host.bodies

    paths, bodies = asyncio.run(play())
    assert paths == ["/0", "/1", "/2", "/3", "/last"]
    assert bodies == [hidden] * 4 + [b""]


@pytest.mark.parametrize("upgrade", [b"", UPGRADE])
def test_however_many_requests_come_at_once_few_wait_and_all_are_answered(upgrade):
    number = 3000
    sent = b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, upgrade) for n in range(number))
    waiting = []

    async def play():
        async with hosting() as host:
            host.look = lambda: waiting.extend(
                len(connection.pipeline) for connection in host.state.connections
            )
            last = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
            received = await host.talk(sent, last)
            assert statuses(received) == ["200"] * (number + 1)
            return host.paths

    assert asyncio.run(play()) == [f"/{n}" for n in range(number)] + ["/last"]
    assert 16 <= max(waiting) <= 16 + 1024 // 18


def test_a_body_whose_length_was_told_is_read_at_once_and_what_follows_it_is_a_request():
    hidden = b"\n\r\n" * 20_000
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    pieces = []

    async def scene(connection, wire):
        parse = connection._parse

        def parsed(piece):
            pieces.append(len(piece))
            parse(piece)

        connection._parse = parsed
        connection.data_received(head + hidden + REQUEST)
        await until(lambda: wire.closed)

    assert played(scene).written.endswith(b"here")
    assert pieces == [1024, len(head + hidden) - 1024, len(REQUEST)]


def trailing(size: int) -> list[str]:
    """How a request with a trailer of that size, and one that follows it, are answered."""

    async def play():
        async with hosting() as host:
            reader, writer = await asyncio.open_connection(*host.address)
            writer.write(CHUNKED + b"1\r\na\r\n0\r\nX: " + b"h" * size + b"\r\n\r\n")
            received = await reader.read(2**16)
            writer.write(b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                received += await reader.read()
            writer.close()
            return statuses(received)

    return asyncio.run(play())


def test_a_trailer_is_bounded_as_a_head_is():
    assert trailing(MAX_HEAD_BYTES - 5000) == ["200", "200"]
    assert trailing(MAX_HEAD_BYTES + 50_000) == ["431"]


@pytest.mark.parametrize("size", range(MAX_HEAD_BYTES - 1000, MAX_HEAD_BYTES + 5000, 500))
def test_a_request_that_is_complete_is_not_refused_for_its_trailer(size):
    assert trailing(size) in (["200", "200"], ["431"])


def test_what_was_sent_is_not_kept_while_a_connection_is_idle():
    async def play():
        async with hosting() as host:
            reader, writer = await asyncio.open_connection(*host.address)
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000)
            await reader.readuntil(b"here")
            [connection] = host.state.connections
            assert not connection.cycle.body
            assert WHOLE not in connection.cycle.scope
            assert all(
                len(value) < 100 for value in vars(connection).values() if isinstance(value, bytes)
            )
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("upgrade", [b"", UPGRADE.replace(b"Upgrade\r\n", b"Upgrade, close\r\n")])
def test_what_comes_after_the_last_request_is_no_request(upgrade):
    first = b"GET / HTTP/1.1\r\n" + (upgrade or b"Connection: close\r\n") + b"\r\n"

    async def play():
        async with hosting() as host:
            assert statuses(await host.talk(first + b"more")) == ["200"]
            assert host.refused == []

    asyncio.run(play())


def test_a_tunnel_is_answered_once_and_its_connection_ends():
    async def play():
        async with hosting() as host:
            received = await host.talk(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + REQUEST)
            assert len(statuses(received)) == 1
            assert b"connection: close" in received

    asyncio.run(play())


@st.composite
def requests(draw) -> tuple[bytes, bytes, bytes]:
    """The path, the body, and how that was sent."""
    path = b"/%d" % draw(st.integers(0, 99))
    body = draw(st.sampled_from([b"", b"a", REQUEST, b"x" * 300, b"\r\n\r\n", b"0\r\n\r\n"]))
    others = st.sampled_from([b"X: GET / HTTP/1.1", b"Y: z"])
    headers = [b"Host: a", *draw(st.lists(others, max_size=2))]
    if draw(st.booleans()):
        headers += [b"Connection: Upgrade, keep-alive"]
        headers += [b"Upgrade: " + b"h" * draw(st.integers(1, 99))]
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(body)))
        chunks = [*filter(None, (body[:cut], body[cut:])), b""]
        headers.append(b"Transfer-Encoding: chunked")
        sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    else:
        headers.append(b"Content-Length: %d" % len(body))
        sent = body
    head = b"\r\n".join([b"POST %b HTTP/1.1" % path, *headers, b"", b""])
    return path, body, head + sent


@given(st.lists(requests(), min_size=1, max_size=30), st.lists(st.integers(1, 3000), max_size=6))
def test_requests_are_read_as_they_were_sent_in_whatever_pieces_they_come(sent, cuts):
    whole = b"".join(request for _, _, request in sent)
    marks = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    found = []

    async def scene(connection, wire):
        async def application(scope, receive, send):
            found.append((scope["path"].encode(), await body(receive)))
            scope[ANSWER](Response("here"))

        connection.app = application
        for begin, end in itertools.pairwise(marks):
            await until(lambda: not wire.paused)
            connection.data_received(whole[begin:end])
            await asyncio.sleep(0)
            assert len(connection.pipeline) <= 16 + 1024 // 18
            assert wire.paused >= bool(connection.pipeline)
        await until(lambda: len(found) == len(sent) or wire.closed)

    played(scene)
    assert found == [(path, content) for path, content, _ in sent]
