"""Versions that are on their way: the watcher goes on meanwhile, and the newest wish counts."""

from __future__ import annotations

import queue
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from bundle.errors import RegistryError
from bundle.registry import Routing
from bundle.registry.version import Standing
from bundle.uri import Resolved
from serving.control import Stop
from serving.metrics import MetricsCollector
from serving.routing.fetcher import AT_ONCE, Fetcher
from serving.routing.follower import Follower
from serving.routing.last_known_good import LastKnownGood
from serving.routing.messages import Call, Fetched, Look, Polled, Result
from serving.routing.orders import Orders
from serving.routing.split import Split
from serving.routing.wanted import Route, Wanted
from serving.routing.watcher import Watcher
from serving.routing.watcher_process import watch

if TYPE_CHECKING:
    from collections.abc import Callable

URI = "models:/m"
PATIENCE_SECONDS = 30.0


def source(number: int) -> Resolved:
    return Resolved(name="m", version=str(number), path=Path(f"/m/{number}"), bare=False)


class Registry:
    """Wants this routing, and hands out a version when its gate is opened."""

    def __init__(self, routing: Routing) -> None:
        self.routing = routing
        self.gates = {number: Event() for number in range(1, 5)}
        self.asked: list[int] = []

    def standing(self, name: str) -> Standing:
        champion = self.routing.champion
        aliases = {} if champion is None else {"champion": champion}
        return Standing(aliases=aliases, routing=self.routing)

    def withdraw(self, name: str, number: int, *, who: str, instead: int | None = None) -> None:
        self.routing = Routing(champion=1)

    def fetch(self, name: str, number: int) -> Resolved:
        self.asked.append(number)
        assert self.gates[number].wait(PATIENCE_SECONDS)
        return source(number)


class Bench:
    """A watcher with versions 1 and 2 in a split, all that it says, and what follows from it."""

    def __init__(self, folder: Path) -> None:
        split = {1: 90.0, 2: 10.0}
        self.registry = Registry(Routing(champion=1, split=split))
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.said: list[object] = []
        self.then: Callable[[object], None] = lambda _: None
        route = Route(
            name="m",
            salt="m",
            split=Split.of(split, champion=1),
            aliases=(("challenger", "2"), ("champion", "1")),
        )
        known = Wanted(uri=URI, sources=(source(1), source(2)), route=route)
        fetcher = Fetcher(self.registry.fetch, self.inbox.put)
        follower = Follower(URI, registry=self.registry, fetch=fetcher.begin, known=known)
        self.watcher = Watcher(
            {URI: follower},
            orders=Orders((known,), tell=self.send),
            store=LastKnownGood(folder, registry_uri="x"),
            metrics=MetricsCollector(),
            periodic=True,
        )

    def send(self, message: object) -> None:
        self.said.append(message)
        self.then(message)

    def answer(self, call: Call) -> Result:
        return Result(call.id, call.process, 200, {})

    def changed(self, call: Call, result: Result) -> bool:
        return call.action != "list"

    def watch(self, *messages: object) -> None:
        for message in messages:
            self.inbox.put(message)
        watch(self.watcher, self, self.inbox, self.send, period=0.0)

    @property
    def shares(self) -> list[dict[str, float]]:
        return [m.wanted.route.split.shares for m in self.said if isinstance(m, Polled)]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    for gate in bench.registry.gates.values():
        gate.set()


def test_what_is_known_is_not_fetched_again(bench):
    bench.watch(Call(1, "promote", "k", "r"), Stop())
    assert bench.registry.asked == []
    assert bench.shares == []


def test_the_operator_is_heard_while_a_version_is_fetched(bench):
    bench.registry.routing = Routing(champion=3)
    bench.watcher.poll()
    bench.watch(Call(1, "list", "k", "r"), Stop())
    assert bench.said[-1] == Result(1, -1, 200, {})
    assert not bench.registry.gates[3].is_set()


def test_a_route_is_told_when_what_it_needs_has_arrived(bench):
    def then(message: object) -> None:
        if isinstance(message, Result):
            bench.registry.gates[3].set()
        elif isinstance(message, Polled):
            bench.inbox.put(Stop())

    bench.then = then
    bench.registry.routing = Routing(champion=3)
    bench.watch(Look(), Call(1, "list", "k", "r"))
    assert bench.shares == [{"3": 100.0}]
    assert bench.registry.asked == [3]


def test_what_is_wanted_last_waits_for_nothing_that_was_wanted_before(bench):
    def then(message: object) -> None:
        if isinstance(message, Result):
            bench.registry.gates[4].set()
        elif isinstance(message, Polled):
            bench.inbox.put(Stop())

    bench.then = then
    bench.registry.routing = Routing(champion=3)
    bench.watcher.poll()
    bench.registry.routing = Routing(champion=4)
    bench.watch(Call(1, "promote", "k", "r"))
    assert bench.shares == [{"4": 100.0}]
    assert not bench.registry.gates[3].is_set()


def test_a_version_that_is_rolled_back_while_it_is_fetched_is_never_told(bench):
    bench.registry.routing = Routing(champion=3)
    bench.watcher.poll()
    bench.registry.routing = Routing(champion=1)
    bench.watcher.poll()
    bench.registry.gates[3].set()
    arrived = bench.inbox.get(timeout=PATIENCE_SECONDS)
    bench.watch(arrived, Stop())
    assert bench.shares == [{"1": 100.0}]


def test_a_version_that_cannot_be_fetched_is_refused(bench):
    bench.then = lambda message: bench.inbox.put(Stop()) if isinstance(message, Polled) else None
    bench.registry.routing = Routing(champion=3)
    bench.watcher.poll()
    error = RegistryError("the artifacts cannot be reached")
    bench.watch(Fetched("another", 3, error), Fetched("m", 3, error))
    [polled] = bench.said
    assert [refusal.version for refusal in polled.wanted.refused] == ["3"]


@pytest.mark.parametrize("error", [RegistryError("nobody is there"), RuntimeError("a fault")])
def test_whatever_ends_a_fetch_is_told(error):
    posted: queue.SimpleQueue[Fetched] = queue.SimpleQueue()

    def fetch(name: str, number: int) -> Resolved:
        raise error

    Fetcher(fetch, posted.put).begin("m", 3)
    told = posted.get(timeout=PATIENCE_SECONDS)
    assert (told.name, told.number) == ("m", 3)
    assert str(error) in str(told.outcome)


def test_a_version_that_is_on_its_way_is_not_fetched_twice():
    gate, posted = Event(), queue.SimpleQueue()
    asked = []

    def fetch(name: str, number: int) -> Resolved:
        asked.append(number)
        assert gate.wait(PATIENCE_SECONDS)
        return source(number)

    fetcher = Fetcher(fetch, posted.put)
    for _ in range(3):
        fetcher.begin("m", 3)
    gate.set()
    assert posted.get(timeout=PATIENCE_SECONDS) == Fetched("m", 3, source(3))
    assert asked == [3]


def test_four_are_fetched_at_once_and_then_the_one_that_was_wanted_last():
    gate, posted = Event(), queue.SimpleQueue()
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def fetch(name: str, number: int) -> Resolved:
        asked.put(number)
        assert gate.wait(PATIENCE_SECONDS)
        return source(number)

    fetcher = Fetcher(fetch, posted.put)
    for number in (*range(1, 9), 5):
        fetcher.begin("m", number)
    assert {asked.get(timeout=PATIENCE_SECONDS) for _ in range(AT_ONCE)} == {1, 2, 3, 4}
    assert asked.empty()
    gate.set()
    arrived = {posted.get(timeout=PATIENCE_SECONDS).number for _ in range(8)}
    assert arrived == set(range(1, 9))
    assert asked.get() == 5
    fetcher.begin("m", 9)
    assert posted.get(timeout=PATIENCE_SECONDS).number == 9
