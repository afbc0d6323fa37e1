from __future__ import annotations

import asyncio

import numpy as np

from serving.transport import Link
from serving.wire import Frames, decode


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.writes = []

    def set_write_buffer_limits(self, high):
        pass

    def writelines(self, pieces):
        self.writes.append(b"".join(pieces))


def link(*, gathers):
    made = Link(on_message=lambda *_: None, on_lost=lambda _: None, gathers=gathers)
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
    found = [decode(frame) for frame in Frames().feed(first + second)]
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
