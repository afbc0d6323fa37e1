from __future__ import annotations

import asyncio
import gc

import numpy as np
import pytest

from serving import transport, wire
from serving.job import FAILED, OK, answer
from serving.loop import unsendable
from serving.transport import MOST_TURNS, Link, Port, connect
from serving.wire import CATALOG, INFER, RELEASED, REPLY, Frames, WireError, decode


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.writes = []
        self.aborted = False

    def abort(self):
        self.aborted = True

    def set_write_buffer_limits(self, high):
        pass

    def writelines(self, pieces):
        self.writes.append(b"".join(pieces))


class Nobody:
    """A worker that is told nothing it need do anything about."""

    def lost(self, link):
        pass


def link(*, gathers, **more):
    made = Link(on_messages=lambda *_: None, on_lost=lambda _: None, gathers=gathers, **more)
    made.connection_made(Wire())
    return made, made._transport


def messages(writes):
    return [message for frame in Frames().feed(b"".join(writes)) for message in decode(frame)]


def test_link_writes_at_once_what_is_sent_in_turns_that_follow_each_other_and_keeps_the_order():
    async def send() -> list[bytes]:
        sender, wire = link(gathers=True)
        sender.send("infer", {"id": 0}, [{"x": np.full(2, 0, np.float32)}])
        for number in (1, 2):
            sender.send("infer", {"id": number}, [{"x": np.full(2, number, np.float32)}])
            await asyncio.sleep(0)
        assert wire.writes == []
        await asyncio.sleep(0)
        sender.send("cancel", {"ids": [0]})
        await asyncio.sleep(0)
        return wire.writes

    first, second = asyncio.run(send())
    found = messages([first, second])
    assert [message.fields.get("id") for message in found] == [0, 1, 2, None]
    assert [message.tensors[0]["x"].tolist() for message in found[:3]] == [[0, 0], [1, 1], [2, 2]]


def test_link_does_not_wait_for_ever_for_more():
    async def send() -> int:
        sender, wire = link(gathers=True)
        sender.send("cancel", {"ids": []})
        turns = 0
        while not wire.writes:
            sender.send("cancel", {"ids": [turns]})
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(send()) == MOST_TURNS + 1


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


def test_what_cannot_be_sent_keeps_nothing_of_the_same_turn_from_it_and_is_told_of(monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 600)
    unsent = []

    async def send() -> list[bytes]:
        sender, wire = link(gathers=True, on_unsent=lambda *told: unsent.append(told[1:]))
        for number, text in enumerate(["a", "\x01" * 200, "c"]):
            sender.send("infer", {"id": number}, [{"x": np.array([text], dtype=object)}])
        sender.send("cancel", {"ids": [1]})
        await asyncio.sleep(0)
        return wire.writes

    found = messages(asyncio.run(send()))
    assert [message.fields.get("id") for message in found] == [0, 2, None]
    [(message, reason)] = unsent
    assert message.fields == {"id": 1}
    assert "at most 600" in reason


def test_what_cannot_be_sent_and_concerns_nobody_is_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(wire, "MOST_BYTES", 10)

    async def send() -> None:
        link(gathers=True)[0].send("cancel", {"ids": [1]})
        await asyncio.sleep(0)

    asyncio.run(send())
    assert caplog.records[0].fields["kind"] == "cancel"


def test_link_of_a_worker_says_so_where_it_cannot_send(monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 10)
    with pytest.raises(WireError, match="at most 10"):
        link(gathers=False)[0].send("reply", {"answers": []})


def test_link_without_the_memory_to_send_says_so(monkeypatch):
    def full(_):
        raise MemoryError

    monkeypatch.setattr(transport, "encode", full)
    with pytest.raises(WireError, match="memory"):
        link(gathers=False)[0].send("reply", {"answers": []})


def replied(replies):
    """What a port says to each API process, by message."""
    wires = {}
    port = Port(None, instead=unsendable)
    port._loop = type(
        "Loop", (), {"call_soon_threadsafe": staticmethod(lambda call, *given: call(*given))}
    )
    sending = {}
    for name, answers in replies.items():
        made, wires[name] = link(gathers=False)
        sending[made] = answers
    port.reply(sending)
    return {name: messages(wire.writes) for name, wire in wires.items()}


def part(number, *, size, kind=np.uint8):
    array = np.array(["\x01" * size], dtype=object) if kind is object else np.zeros(size, kind)
    return answer(number, OK, queue=0.1, infer=0.2, share=0.5), {"y": array}


@pytest.mark.parametrize("kind", [np.uint8, object], ids=["numbers", "strings"])
def test_answers_that_are_too_large_together_are_sent_in_several_messages(monkeypatch, kind):
    monkeypatch.setattr(wire, "MOST_BYTES", 2000)
    monkeypatch.setattr(transport, "FRAME_BYTES", 300)
    sizes = [200, 100, 1, 100, 200]
    found = replied({"a": [part(n, size=size, kind=kind) for n, size in enumerate(sizes)]})["a"]
    assert len(found) > 1
    told = [entry for message in found for entry in message.fields["answers"]]
    assert [(entry["id"], entry["status"]) for entry in told] == [(n, OK) for n in range(5)]
    arrays = [group["y"] for message in found for group in message.tensors]
    sent = [len(array[0]) if kind is object else array.size for array in arrays]
    assert sent == sizes


@pytest.mark.parametrize("kind", [np.uint8, object], ids=["numbers", "strings"])
def test_an_answer_that_is_too_large_alone_fails_alone_and_says_why(monkeypatch, kind):
    monkeypatch.setattr(wire, "MOST_BYTES", 2000)
    large = part(1, size=3000, kind=kind)
    found = replied(
        {"a": [part(0, size=1), large, part(2, size=1)], "b": [large], "c": [part(3, size=1)]}
    )
    statuses = {
        name: [(entry["id"], entry["status"]) for message in said
               for entry in message.fields["answers"]]
        for name, said in found.items()
    }  # fmt: skip
    assert statuses == {"a": [(0, OK), (1, FAILED), (2, OK)], "b": [(1, FAILED)], "c": [(3, OK)]}
    [message] = found["b"]
    [entry] = message.fields["answers"]
    assert entry["message"].startswith("the outputs cannot be sent: it takes ")
    assert (entry["infer"], entry["share"]) == (0.2, 0.5)  # it ran, and counts
    assert message.tensors == [{}]


def test_port_can_be_reached_for_as_long_as_its_worker_lives(tmp_path):
    port = Port(tmp_path / "worker.sock", instead=unsendable)
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


class AtOnce(Nobody):
    """A worker that answers all that came in a turn of its port's event loop, at the end of it."""

    def __init__(self) -> None:
        self.asked = []
        self.turns = []
        """What was asked in each, and what catalog the API process had kept to until then."""

    def receive(self, link, *messages):
        self.asked += [(link, found.fields["id"]) for found in messages if found.kind == INFER]

    def settle(self):
        asked, self.asked = self.asked, []
        if asked:
            kept = self.port._released[asked[0][0]]
            self.turns.append(([number for _, number in asked], kept))
            yield {link: [part(number, size=1)] for link, number in asked[:1]}
            yield {link: [part(number, size=1)] for link, number in asked[1:]}


def test_an_answer_that_cannot_be_written_keeps_no_other_from_its_own(monkeypatch, caplog):
    (broken, silent), (other, wire) = link(gathers=False), link(gathers=False)
    monkeypatch.setattr(silent, "writelines", None)
    Port(None, instead=unsendable)._answer({broken: [part(1, size=1)], other: [part(2, size=1)]})
    [message] = messages(wire.writes)
    assert message.fields["answers"][0]["id"] == 2
    assert silent.aborted
    assert "cannot be answered" in caplog.text


def test_port_answers_at_once_what_came_in_a_turn_and_then_hears_what_is_released(tmp_path):
    worker = AtOnce()
    worker.port = port = Port(tmp_path / "worker.sock", instead=unsendable)
    port.start(worker, catalog={"serial": 1, "models": []})

    async def ask() -> list[int]:
        told: list[int] = []
        done = asyncio.Event()

        def receive(_, messages):
            for message in messages:
                if message.kind == REPLY:
                    told.extend(answer["id"] for answer in message.fields["answers"])
            if len(told) == 2:
                done.set()

        found = await connect(port._address, on_messages=receive, on_lost=lambda _: None)
        for number in (5, 6):
            found.send(INFER, {"id": number}, [{"x": np.zeros(1, np.float32)}])
        found.send(RELEASED, {"serial": 7})
        await asyncio.wait_for(done.wait(), 10)
        assert sorted(await asyncio.to_thread(lambda: list(port._released.values()))) == [7]
        found.close()
        return told

    assert asyncio.run(ask()) == [5, 6]
    assert worker.turns == [([5, 6], 1)]
    port.close()
