from __future__ import annotations

import asyncio
import gc

import numpy as np

from serving.transport import Link, Port, connect
from serving.wire import CATALOG, Frames, decode


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.writes = []

    def set_write_buffer_limits(self, high):
        pass

    def writelines(self, pieces):
        self.writes.append(b"".join(pieces))


class Nobody:
    """A worker that is told nothing it need do anything about."""

    def lost(self, link):
        pass


def link(*, gathers):
    made = Link(on_messages=lambda *_: None, on_lost=lambda _: None, gathers=gathers)
    made.connection_made(Wire())
    return made, made._transport


def test_link_writes_at_once_what_is_sent_in_one_turn_and_keeps_the_order():
    async def send() -> list[bytes]:
        sender, wire = link(gathers=True)
        for number in range(3):
            sender.send("infer", {"id": number}, [{"x": np.full(2, number, np.float32)}])
        assert wire.writes == []
        await asyncio.sleep(0)
        sender.send("cancel", {"ids": [0]})
        await asyncio.sleep(0)
        return wire.writes

    first, second = asyncio.run(send())
    found = [message for frame in Frames().feed(first + second) for message in decode(frame)]
    assert [message.fields.get("id") for message in found] == [0, 1, 2, None]
    assert [message.tensors[0]["x"].tolist() for message in found[:3]] == [[0, 0], [1, 1], [2, 2]]


def test_link_drops_what_was_gathered_when_the_other_end_is_lost():
    async def send() -> list[bytes]:
        sender, wire = link(gathers=True)
        sender.send("cancel", {"ids": [1]})
        sender.connection_lost(None)
        await asyncio.sleep(0)
        return wire.writes

    assert asyncio.run(send()) == []


def test_link_of_a_worker_writes_what_it_is_told_to_before_its_loop_may_stop():
    sender, wire = link(gathers=False)
    sender.send("reply", {"answers": []})
    assert len(wire.writes) == 1


def test_port_can_be_reached_for_as_long_as_its_worker_lives(tmp_path):
    port = Port(tmp_path / "worker.sock")
    port.start(Nobody(), catalog={"serial": 1, "models": []})

    async def look() -> str:
        told = asyncio.get_running_loop().create_future()
        found = await connect(
            tmp_path / "worker.sock",
            on_messages=lambda _, messages: told.set_result(messages[0].kind),
            on_lost=lambda _: None,
        )
        try:
            return await told
        finally:
            found.close()

    gc.collect()  # nobody is connected yet, nor between these two
    assert asyncio.run(look()) == CATALOG
    gc.collect()
    assert asyncio.run(look()) == CATALOG
    port.close()
