"""A dispatcher and a worker that does what a test says, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
import weakref
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import uvloop

from bundle.errors import NotFoundError
from serving import wire
from serving.backlog import LONGEST
from serving.catalog import Catalog
from serving.debtor import Debtor
from serving.departure import ClientGoneError, Departure
from serving.dispatch import Dispatcher
from serving.errors import (
    DeadlineExceededError,
    ModelFailedError,
    TooLargeError,
    UnavailableError,
)
from serving.job import BEGUN, EXPIRED, FAILED, OK, REJECTED, answer
from serving.loop import unsendable
from serving.run import Run
from serving.served_model import ModelInfo, Part
from serving.transport import Link, Port
from serving.wire import CANCEL, CATALOG, INFER, RELEASED, REPLY
from tests.garbage import no_collection
from tests.until import until

SERVED = SimpleNamespace(key=("m", "1"))
PART = Part({"x": np.ones((1, 2), np.float32)}, (0,), "x")


class Worker:
    """Keeps what it is told, and answers when it is told to."""

    def __init__(self) -> None:
        self.messages = []
        self.link: Link | None = None

    def opened(self, link) -> None:
        self.link = link

    def received(self, _, messages) -> None:
        self.messages += messages

    async def told(self, kind: str, count: int = 1) -> list:
        """Waits until it was."""
        async with asyncio.timeout(10):
            while len(found := [m for m in self.messages if m.kind == kind]) < count:
                await asyncio.sleep(0.001)
        return found

    def answer(self, *numbers: int, status: str = OK) -> None:
        fields = {"queue": 0.0, "infer": 0.0} if status == OK else {"message": "no"}
        answers = [answer(number, status, **fields) for number in numbers]
        tensors = [{"y": np.full((1, 1), number)} for number in numbers]
        self.link.send(REPLY, {"answers": answers}, tensors)


@contextlib.asynccontextmanager
async def dispatching(folder, **options):
    """A dispatcher that knows one worker, and that worker."""
    worker = Worker()
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: Link(
            on_messages=worker.received, on_lost=lambda _: None, on_open=worker.opened
        ),
        str(folder / "w"),
    )  # fmt: skip
    dispatcher = Dispatcher(catalog=Catalog(), on_change=lambda: None, **options)
    await dispatcher.connect(folder / "w")
    await until(lambda: worker.link is not None)
    (known,) = dispatcher._workers.values()
    known.models = frozenset({("m", "1")})
    try:
        yield dispatcher, worker
    finally:
        dispatcher.close()
        server.close()


@contextlib.contextmanager
def no_descriptor_left():
    """This process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(dispatcher, parts=(PART,), *, seconds=10.0, departure=None, **options):
    return asyncio.ensure_future(
        dispatcher.run(
            SERVED,
            parts,
            deadline=time.monotonic() + seconds,
            timeout_ms=seconds * 1000,
            priority=1,
            routed=options.pop("routed", False),
            departure=departure,
            **options,
        )
    )


def test_answers_are_in_the_order_of_the_parts_whatever_order_they_come_in(tmp_path):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher, [PART, PART, PART])
            await worker.told(INFER, 3)
            worker.answer(2)
            worker.answer(0, 1)
            found = [answer.outputs["y"].item() for answer in await asking]
            await asyncio.sleep(0.01)
            return found, [message.kind for message in worker.messages]

    found, kinds = asyncio.run(run())
    assert found == [0, 1, 2]
    assert CANCEL not in kinds


def test_the_first_error_is_the_answer_and_the_other_parts_are_taken_back(tmp_path):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher, [PART, PART, PART])
            await worker.told(INFER, 3)
            worker.answer(1, status=FAILED)
            with pytest.raises(ModelFailedError, match=r"^no$"):
                await asking
            (taken_back,) = await worker.told(CANCEL)
            worker.answer(0, 2)  # too late, and of no consequence
            await asyncio.sleep(0.01)
            return taken_back.fields["ids"]

    assert sorted(asyncio.run(run())) == [0, 2]


def test_a_request_that_cannot_be_sent_fails_at_once_and_others_of_the_same_turn_are_asked(
    tmp_path, monkeypatch
):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            monkeypatch.setattr(wire, "MOST_BYTES", 1000)
            large = Part({"x": np.ones((1, 500), np.float32)}, (0,), "x")
            asking = [ask(dispatcher, parts) for parts in ([PART], [large, PART], [PART])]
            with pytest.raises(TooLargeError, match=r"cannot be sent .* at most 1000") as caught:
                await asking[1]
            assert caught.value.remedy
            asked = [message.fields["id"] for message in await worker.told(INFER, 3)]
            (taken_back,) = await worker.told(CANCEL)
            worker.answer(0, 3)
            await asyncio.gather(asking[0], asking[2])
            assert not any(known.pending for known in dispatcher._workers.values())
            return asked, taken_back.fields["ids"]

    assert asyncio.run(run()) == ([0, 2, 3], [2])


def test_outputs_that_cannot_be_sent_are_an_error_that_says_what_to_do(tmp_path):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher)
            await worker.told(INFER)
            ran = answer(0, OK, queue=0.0, infer=0.0)
            worker.link.send(REPLY, {"answers": [unsendable(ran, "it is large")]}, [{}])
            with pytest.raises(ModelFailedError, match="cannot be sent: it is large") as caught:
                await asking
            return caught.value.remedy

    assert asyncio.run(run()) == "send less at once"


class Growing:
    """A worker whose outputs have as many numbers as it has been asked parts."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.asked: list[int] = []

    def receive(self, link, *messages) -> None:
        self.asked += [message.fields["id"] for message in messages if message.kind == INFER]
        if len(self.asked) == 3:
            ran = {"queue": 0.0, "infer": 0.0}
            answers = [
                (answer(number, OK, **ran), {"y": np.zeros((1, 10 ** (2 * number)))})
                for number in self.asked
            ]
            self.port.reply({link: answers})

    def settle(self):
        return ()

    def lost(self, link) -> None:
        """It ends with the test."""


def test_of_a_batch_only_the_answer_that_cannot_be_sent_fails(tmp_path, monkeypatch):
    async def run():
        monkeypatch.setattr(wire, "MOST_BYTES", 2000)
        port = Port(tmp_path / "w", instead=unsendable)
        port.start(Growing(port), catalog={"serial": 1, "models": []})
        dispatcher = Dispatcher(catalog=Catalog(), on_change=lambda: None)
        await dispatcher.connect(tmp_path / "w")
        (known,) = dispatcher._workers.values()
        while not known.serial:  # the catalog, which has nothing, is still to come
            await asyncio.sleep(0.001)
        known.models = frozenset({("m", "1")})
        try:
            return await asyncio.gather(
                *(ask(dispatcher) for _ in range(3)), return_exceptions=True
            )
        finally:
            dispatcher.close()
            port.close()

    one, hundred, too_many = asyncio.run(run())
    assert (one[0].outputs["y"].size, hundred[0].outputs["y"].size) == (1, 100)
    assert isinstance(too_many, ModelFailedError)
    assert "cannot be sent: it takes 80" in str(too_many)


def test_a_deadline_passes_and_what_waits_is_taken_back(tmp_path):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            with pytest.raises(DeadlineExceededError):
                await ask(dispatcher, seconds=0.05)
            with pytest.raises(DeadlineExceededError):
                await ask(dispatcher, seconds=-1.0)
            (taken_back,) = await worker.told(CANCEL)
            return taken_back.fields["ids"]

    assert asyncio.run(run()) == [0]


def test_who_has_gone_before_is_not_asked_for(tmp_path):
    async def run():
        departure = Departure()
        departure.happen()
        async with dispatching(tmp_path) as (dispatcher, worker):
            with pytest.raises(ClientGoneError):
                await ask(dispatcher, departure=departure)
            asking = ask(dispatcher)
            await worker.told(INFER)
            worker.answer(0)
            await asking
            return [message.kind for message in worker.messages]

    assert asyncio.run(run()) == [INFER]


def test_who_goes_while_it_waits_is_not_waited_for(tmp_path):
    async def run():
        departure = Departure()
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher, departure=departure)
            await worker.told(INFER)
            departure.happen()
            with pytest.raises(ClientGoneError):
                await asking
            (taken_back,) = await worker.told(CANCEL)
            return taken_back.fields["ids"]

    assert asyncio.run(run()) == [0]


def test_a_departure_after_the_answer_is_of_no_consequence(tmp_path):
    async def run():
        departure = Departure()
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher, departure=departure)
            await worker.told(INFER)
            worker.answer(0)
            found = await asking
            departure.happen()
            return found[0].outputs["y"].item()

    assert asyncio.run(run()) == 0


def test_a_lost_worker_fails_what_it_owes_and_what_nobody_can_do_is_refused(tmp_path):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            asking = ask(dispatcher, [PART, PART])
            await worker.told(INFER, 2)
            worker.link.close()
            with pytest.raises(UnavailableError, match="died") as lost:
                await asking
            with pytest.raises(UnavailableError, match="no worker") as alone:
                await ask(dispatcher)
            return lost.value.code, alone.value.code

    assert asyncio.run(run()) == ("worker_lost", "not_ready")


def test_a_worker_that_does_not_read_is_not_sent_more_and_more(tmp_path):
    large = PART._replace(tensors={"x": np.zeros((1, 2**20), np.float32)})

    async def run():
        async with dispatching(tmp_path, most_buffered=2**20) as (dispatcher, worker):
            worker.link._transport.pause_reading()
            with pytest.raises(DeadlineExceededError):
                await ask(dispatcher, [large], seconds=0.2)
            with pytest.raises(UnavailableError, match="reads") as caught:
                await ask(dispatcher)
            worker.link._transport.resume_reading()
            await worker.told(CANCEL)
            asking = ask(dispatcher)
            await worker.told(INFER, 2)
            worker.answer(1)
            return caught.value.code, len(await asking)

    assert asyncio.run(run()) == ("overloaded", 1)


@pytest.mark.parametrize(
    ("buffered", "pending", "asked"),
    [
        ((2**30, 0), (0, 5), 1),
        ((2**21, 2**19), (0, 5), 1),
        ((2**19, 0), (0, 5), 0),
        ((0, 0), (5, 0), 1),
    ],
    ids=["over the limit", "stands still", "is sent something", "owes less"],
)
def test_the_worker_that_reads_and_owes_least_is_asked(buffered, pending, asked):
    class Linked:
        def __init__(self, size: int) -> None:
            self.buffered = size
            self.sent: list[str] = []

        def send(self, kind, fields, tensors=()):
            self.sent.append(kind)

    dispatcher = Dispatcher(catalog=Catalog(), on_change=lambda: None)
    links = [Linked(size) for size in buffered]
    for link, count in zip(links, pending, strict=True):
        dispatcher._workers[link] = Debtor(
            link, frozenset({("m", "1")}), pending=dict.fromkeys(range(100, 100 + count))
        )

    async def run():
        asking = ask(dispatcher, seconds=0.01)
        with pytest.raises(DeadlineExceededError):
            await asking

    asyncio.run(run())
    assert [INFER in link.sent for link in links] == [asked == 0, asked == 1]


def test_a_connection_that_breaks_is_made_anew(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("serving.dispatch.RECONNECT_SECONDS", 0.01)

    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            before = worker.link
            before.close()
            await until(lambda: worker.link is not before and len(dispatcher._workers) == 1)
            (known,) = dispatcher._workers.values()
            known.models = frozenset({("m", "1")})
            asking = ask(dispatcher)
            await worker.told(INFER)
            worker.answer(0)
            return (await asking)[0].outputs["y"].item()

    assert asyncio.run(run()) == 0
    [record] = caplog.records
    assert "broke" in record.message


def test_a_worker_that_says_nothing_is_looked_for_less_and_less(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.dispatch.RECONNECT_SECONDS", 0.001)
    waits: list[float] = []

    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            reconnect = dispatcher._reconnect

            def counted(address, wait):
                waits.append(wait)
                return reconnect(address, wait)

            monkeypatch.setattr(dispatcher, "_reconnect", counted)
            for number in range(5):
                link = worker.link
                if number == 3:
                    worker.link.send(CATALOG, {"serial": 0, "models": []})
                    await until(lambda: any(w.heard for w in dispatcher._workers.values()))
                link.close()
                await until(lambda before=link: worker.link is not before)

    asyncio.run(run())
    assert waits == [0.001, 0.002, 0.004, 0.001, 0.002]


def test_a_worker_that_is_gone_is_not_looked_for_any_more(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("serving.dispatch.RECONNECT_SECONDS", 0.01)

    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            (tmp_path / "w").unlink()
            worker.link.close()
            await until(lambda: not dispatcher._workers)
            await until(lambda: not dispatcher._tasks)
            return dispatcher._workers

    assert not asyncio.run(run())
    assert not caplog.records


def test_who_has_hung_up_connects_to_nobody_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.dispatch.RECONNECT_SECONDS", 3600.0)

    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            first = worker.link
            first.close()
            await until(lambda: not dispatcher._workers)
            dispatcher.close()
            await until(lambda: not dispatcher._tasks)
            assert worker.link is first
            await dispatcher.connect(tmp_path / "w")
            await until(lambda: worker.link is not first and not worker.link.open)
            return dispatcher._workers

    assert not asyncio.run(run())


def test_who_would_be_turned_away_for_the_same_reason_does_not_ask(tmp_path):
    async def test():
        async with dispatching(tmp_path) as (dispatcher, worker):
            first = ask(dispatcher, seconds=1.0)
            [message] = await worker.told(INFER)
            refusal = answer(message.fields["id"], REJECTED, wait=1.5, late=0.05)
            worker.link.send(REPLY, {"answers": [refusal]}, [{}])
            with pytest.raises(UnavailableError, match="deadline") as caught:
                await first
            assert caught.value.headers["Retry-After"] == "2"
            now = time.monotonic()
            with pytest.raises(UnavailableError, match="deadline"):
                dispatcher.check(SERVED, samples=1, deadline=now + 0.9, priority=1)
            dispatcher.check(SERVED, samples=1, deadline=now + 1.5, priority=1)
            dispatcher.check(SERVED, samples=1, deadline=now + 0.9, priority=0)
            await asyncio.sleep(1.1 * LONGEST)
            dispatcher.check(SERVED, samples=1, deadline=now + 0.9, priority=1)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("asked", "status", "ran", "blamed"),
    [
        ({"routed": True, "own_limit": True}, BEGUN, 1.0, True),
        ({"routed": True, "own_limit": True}, OK, 1.0, True),  # the answer was on its way
        ({"routed": True, "own_limit": True}, BEGUN, 0.0, False),  # it waited, or came slowly
        ({"routed": True, "own_limit": True}, EXPIRED, None, False),
        ({"routed": True, "own_limit": False}, BEGUN, 1.0, False),
        ({"routed": False, "own_limit": True}, BEGUN, 1.0, False),
    ],
)
def test_a_version_is_to_blame_for_what_it_ran_until_the_servers_limit(
    tmp_path, asked, status, ran, blamed
):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            found = []
            dispatcher._on_overdue = lambda key, share: found.append((key, share))
            with pytest.raises(DeadlineExceededError):
                await ask(dispatcher, seconds=0.05, **asked)
            [cancelled] = await worker.told(CANCEL)
            [number] = cancelled.fields["ids"]
            assert cancelled.fields["begun"] == ([number] if all(asked.values()) else [])
            told = {} if ran is None else {"infer": ran, "share": 0.25}
            late = answer(number, status, queue=0.0, samples=4, tokens=1, **told)
            worker.link.send(REPLY, {"answers": [late, late]}, [{}, {}])
            other = ask(dispatcher)  # whose answer comes after these
            await worker.told(INFER, 2)
            worker.answer(number + 1)
            await other
            assert found == ([(("m", "1"), 0.25)] if blamed else [])
            assert not any(known.overdue for known in dispatcher._workers.values())

    asyncio.run(run())


@pytest.mark.parametrize("status", [OK, FAILED])
def test_who_asks_learns_what_the_batch_was_also_where_it_failed(tmp_path, status):
    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            runs = []
            asked = ask(dispatcher, runs=runs)
            [message] = await worker.told(INFER)
            batch = {
                "samples": 8, "tokens": 3, "share": 0.5, "shared": True, "queue": 0.0,
                "message": "no",
            }  # fmt: skip
            fields = batch | ({"infer": 0.2} if status == OK else {})
            found = answer(message.fields["id"], status, **fields)
            worker.link.send(REPLY, {"answers": [found]}, [{"y": np.zeros((1, 1))}])
            await asyncio.wait([asked])
            seconds, failed = (0.2, False) if status == OK else (0.0, True)
            assert runs == [Run(seconds, 8, 3, 0.5, failed, shared=True)]
            assert (asked.exception() is None) == (status == OK)

    asyncio.run(run())


def test_a_worker_that_cannot_be_reached_now_is_reached_later(tmp_path, caplog):
    async def test():
        async with dispatching(tmp_path) as (dispatcher, _):
            with no_descriptor_left():
                connecting = asyncio.ensure_future(dispatcher.connect(tmp_path / "w"))
                while not caplog.records:
                    await asyncio.sleep(0.001)
            assert len(dispatcher._workers) == 1
            await asyncio.wait_for(connecting, 60)
            assert len(dispatcher._workers) == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
    assert "Too many open files" in caplog.records[0].fields["reason"]


def test_where_nobody_listens_nobody_is_waited_for(tmp_path, caplog):
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "w"))
    dispatcher = Dispatcher(catalog=Catalog(), on_change=lambda: None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in ("w", "gone"):
            runner.run(asyncio.wait_for(dispatcher.connect(tmp_path / name), 60))
    assert len(caplog.records) == 2


@pytest.mark.parametrize("error", [NotFoundError("no descriptor is left"), RuntimeError("why")])
def test_a_model_that_cannot_be_used_now_is_used_later(tmp_path, monkeypatch, caplog, error):
    monkeypatch.setattr("serving.dispatch.PREPARE_SECONDS", 0.01)
    tried: list[str] = []

    def prepared(info, _):
        tried.append(info.name)
        if tried == ["m", "late"]:
            raise error
        return SimpleNamespace(info=info)

    monkeypatch.setattr("serving.dispatch.ServedModel", prepared)

    async def run():
        async with dispatching(tmp_path) as (dispatcher, worker):
            infos = [
                ModelInfo(name, "1", "fp32", "onnxruntime", "cpu", True, "", {})
                for name in ("m", "late")
            ]
            models = [asdict(info) for info in infos]
            worker.link.send(CATALOG, {"serial": 1, "models": models})
            await worker.told(RELEASED, 2)
            (known,) = dispatcher._workers.values()
            return known.models

    assert asyncio.run(run()) == {("m", "1"), ("late", "1")}
    assert tried == ["m", "late", "late"]
    assert [record.fields["model"] for record in caplog.records] == ["late"]


@pytest.mark.parametrize("error", [ModelFailedError, DeadlineExceededError])
def test_nothing_is_kept_of_a_request_that_failed(tmp_path, error):
    async def run():
        tensors = {"x": np.ones((1, 2), np.float32)}
        known = weakref.ref(tensors["x"])
        async with dispatching(tmp_path) as (dispatcher, worker):
            part, seconds = Part(tensors, (0,), "x"), 10.0 if error is ModelFailedError else 0.05
            asking = ask(dispatcher, [part], seconds=seconds, routed=True, own_limit=True)
            await worker.told(INFER)
            if error is ModelFailedError:
                worker.answer(0, status=FAILED)
            with pytest.raises(error):
                await asking
            del tensors, part, asking
            await asyncio.sleep(0)
            return known()

    with no_collection():
        assert asyncio.run(run()) is None
