"""Unix sockets between API processes and workers: who says what, not what it means.

A worker listens on a socket of its own, and every API process connects to it. A process that dies
closes its ends, so the other side knows at once; nothing is shared that a kill could leave locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import uvloop

from serving.vital import vital_thread
from serving.wire import (
    CATALOG,
    RELEASED,
    REPLY,
    Frames,
    Message,
    Tensors,
    WireError,
    decode,
    encode,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
FRAME_BYTES = 256 * 1024
"""Of tensors that the messages or answers of one frame have; a larger one goes alone."""

MOST_TURNS = 4
"""Of the event loop, for which what is to be written waits for more as long as each adds some: who
gets it is woken once for all of it.
"""

Answer = tuple[dict[str, Any], Tensors]
"""What a worker says of a part, and the outputs."""
Instead = Callable[[dict[str, Any], str], dict[str, Any]]
"""What to say of a part whose outputs cannot be sent, and that is the reason."""


def log_unsent(link: Link, message: Message, reason: str) -> None:  # noqa: ARG001 - on_unsent's signature
    """For those to whom it is nothing but a defect."""
    fields = {"kind": message.kind, "reason": reason}
    log.error("a message cannot be sent", extra={"fields": fields})


class Link(asyncio.Protocol):
    """One connection; calls back with every message, and once when it is lost."""

    def __init__(
        self,
        *,
        on_messages: Callable[[Link, list[Message]], None],
        on_lost: Callable[[Link], None],
        on_open: Callable[[Link], None] | None = None,
        on_unsent: Callable[[Link, Message, str], None] = log_unsent,
        gathers: bool = False,
    ) -> None:
        """`gathers`: what is sent in one turn of the event loop is written at once, along with what
        the next few turns add to it, and `on_unsent` is told of what cannot be, with the reason.
        """
        self._gathers = gathers
        self._on_unsent = on_unsent
        self._gathered: list[Message] = []
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._on_open = on_open
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class
        # Nobody is told to pause. A dispatcher looks at `buffered`; answers are bounded by what was
        # asked.
        self._transport.set_write_buffer_limits(high=2**31 - 1)
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._on_messages(self, decode(frame))
        except WireError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._on_lost(self)

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def buffered(self) -> int:
        """Bytes that were sent and for which the other side has not made room yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, kind: str, fields: dict[str, Any], tensors: Sequence[Tensors] = ()) -> None:
        """Written in order; silently dropped if the connection is gone, which `on_lost` tells.

        Raises WireError if it can never be written, unless the link gathers.
        """
        message = Message(kind, fields, tensors)
        if not self._gathers:
            self._write([message])
            return
        self._gathered.append(message)
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._gather, 1, MOST_TURNS)

    def _gather(self, seen: int, turns: int) -> None:
        """Write if no more have come than were seen, or it has waited for so many turns."""
        found = len(self._gathered)
        if found > seen and turns:
            asyncio.get_running_loop().call_soon(self._gather, found, turns - 1)
        else:
            self._write_gathered()

    def _write_gathered(self) -> None:
        messages, self._gathered = self._gathered, []
        for frame in _frames(messages):
            try:
                self._write(frame)
            except WireError:
                self._write_each(frame)

    def _write_each(self, messages: list[Message]) -> None:
        """What cannot be written keeps nothing else from it."""
        for message in messages:
            try:
                self._write([message])
            except WireError as error:
                self._on_unsent(self, message, str(error))

    def _write(self, messages: list[Message]) -> None:
        if self._transport is None:
            return
        try:
            pieces = encode(messages)
        except MemoryError as error:
            raise WireError("there is no memory left to send it") from error
        self._transport.writelines(pieces)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


Replies = dict[Link, list[Answer]]
"""A worker's answers to each API process."""


def _frames(messages: list[Message]) -> Iterator[list[Message]]:
    """The messages in frames: who gets them can begin when the first one is there."""
    if len(messages) == 1:
        yield messages
        return
    frame: list[Message] = []
    total = 0
    for message in messages:
        size = message.size
        if frame and total + size > FRAME_BYTES:
            yield frame
            frame, total = [], 0
        frame.append(message)
        total += size
    if frame:
        yield frame


async def connect(
    address: Path,
    *,
    on_messages: Callable[[Link, list[Message]], None],
    on_lost: Callable[[Link], None],
    on_unsent: Callable[[Link, Message, str], None] = log_unsent,
) -> Link:
    """An API process's connection to a worker. Raises OSError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, link = await loop.create_unix_connection(
            lambda: Link(
                on_messages=on_messages, on_lost=on_lost, on_unsent=on_unsent, gathers=True
            ),
            str(address),
        )
    return link


def _answer(link: Link, answers: list[Answer], instead: Instead) -> None:
    """One message, or halves of what is too large to be one."""
    told = {"answers": [fields for fields, _ in answers]}
    tensors = [outputs for _, outputs in answers]
    alone = len(answers) == 1
    if alone or Message(REPLY, told, tensors).size <= FRAME_BYTES:
        try:
            link.send(REPLY, told, tensors)
            return
        except WireError as error:
            if alone:
                link.send(REPLY, {"answers": [instead(answers[0][0], str(error))]}, [{}])
                return
    middle = len(answers) // 2
    for half in (answers[:middle], answers[middle:]):
        _answer(link, half, instead)


class Receiver(Protocol):
    """What a worker does with what API processes say; called on the port's thread."""

    def receive(self, link: Link, *messages: Message) -> None: ...

    def settle(self) -> Iterator[Replies]:
        """All is received that came in a turn of the event loop: what is answered at once."""

    def lost(self, link: Link) -> None:
        """The API process is gone, and with it everybody who waited for its requests."""


class Port:
    """A worker's side: an event loop on a thread of its own.

    Reading never waits for the model for longer than brief batches take, nor the model for a slow
    reader.
    """

    def __init__(self, address: Path, *, instead: Instead) -> None:
        self._address = address
        self._instead = instead
        self._loop = uvloop.new_event_loop()
        self._thread: threading.Thread
        self._server: asyncio.AbstractServer
        self._catalog: dict[str, Any] = {}
        self._released: dict[Link, int] = {}
        """By connection the number of the last catalog that its API process keeps to."""
        self._settles = False
        """Whether this turn of the event loop ends with that."""

    def start(self, receiver: Receiver, *, catalog: dict[str, Any]) -> None:
        """Listen; every connection is told the catalog first."""
        self._catalog = catalog
        self._thread = vital_thread("port", self._loop.run_forever)
        asyncio.run_coroutine_threadsafe(self._listen(receiver), self._loop).result()

    async def _listen(self, receiver: Receiver) -> None:
        def opened(link: Link) -> None:
            self._released[link] = self._catalog["serial"]  # it asks for nothing older from now on
            link.send(CATALOG, self._catalog)

        def received(link: Link, messages: list[Message]) -> None:
            receiver.receive(link, *messages)
            if not self._settles:
                self._settles = True
                self._loop.call_soon(settle)
            for message in messages:
                if message.kind == RELEASED:  # of what was asked before, which is seen to first
                    self._loop.call_soon(released, link, message.fields["serial"])

        def released(link: Link, serial: int) -> None:
            if link in self._released:
                self._released[link] = serial

        def settle() -> None:
            self._settles = False
            for replies in receiver.settle():
                self._answer(replies)

        def lost(link: Link) -> None:
            self._released.pop(link, None)
            receiver.lost(link)

        # uvloop keeps a server only while somebody is connected to it.
        self._server = await self._loop.create_unix_server(
            lambda: Link(on_messages=received, on_lost=lost, on_open=opened), str(self._address)
        )

    def announce(self, catalog: dict[str, Any]) -> None:
        """From any thread: tell every API process what is held now."""

        def tell() -> None:
            self._catalog = catalog
            for link in self._released:
                link.send(CATALOG, catalog)

        with contextlib.suppress(RuntimeError):  # the loop has ended: the process is stopping
            self._loop.call_soon_threadsafe(tell)

    def released(self, serial: int) -> bool:
        """From any thread: whether every API process keeps to that catalog or a later one."""
        known = asyncio.run_coroutine_threadsafe(self._known(), self._loop)
        return all(found >= serial for found in known.result())

    async def _known(self) -> list[int]:
        return [self._catalog["serial"], *self._released.values()]

    def reply(self, replies: Replies) -> None:
        """From any thread: its answers to each API process."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: the process is stopping
            self._loop.call_soon_threadsafe(self._answer, replies)

    def _answer(self, replies: Replies) -> None:
        for link, answers in replies.items():
            try:
                _answer(link, answers, self._instead)
            except Exception:  # whoever waits at its other end is told by its end
                log.exception("an API process cannot be answered")
                link.close()

    def close(self) -> None:
        """Stop listening, once what was replied is written as far as the sockets take it."""

        def stop() -> None:
            self._server.close()
            self._loop.stop()

        self._loop.call_soon_threadsafe(stop)
        self._thread.join()
        self._address.unlink(missing_ok=True)
