"""The watcher: what it tells the supervisor, and when; and what it does about a bad challenger."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from bundle.errors import NotFoundError, RecordError, RegistryError
from bundle.registry import Event, Routing
from bundle.registry.record import new_event
from serving.control import Stop
from serving.metrics import MetricsCollector
from serving.routing.backoff import FIRST_SECONDS, Backoff
from serving.routing.enforcer import Enforcer
from serving.routing.last_known_good import LastKnownGood
from serving.routing.messages import Advance, Look, Routes
from serving.routing.orders import Orders
from serving.routing.outcomes import Outcomes
from serving.routing.sentry import Sentry
from serving.routing.slowness import FIRST_BATCHES
from serving.routing.table import RoutingTable
from serving.routing.watcher import STALE_SECONDS, Watcher
from serving.routing.watcher_process import watch
from serving.run import Run
from tests.observed import bad_challenger, settled_split, whole_tick

if TYPE_CHECKING:
    from pathlib import Path

    from serving.routing.wanted import Refusal, Route, Wanted

URI = "models:/m"


def wanted(percent: dict[int, float], *, refused: tuple[Refusal, ...] = ()) -> Wanted:
    return replace(settled_split(percent, uri=URI), refused=refused)


class Registry:
    """What a follower says of a registry that may be away."""

    def __init__(self, percent: dict[int, float]) -> None:
        self.away = False
        self.read_only = False
        self.now = wanted(percent)
        self.withdrawn: list[str] = []
        self.advanced: list[tuple[str, float]] = []

    def poll(self) -> Wanted:
        self._check()
        return self.now

    def withdraw(self, version: str, *, who: str, instead: int | None = None) -> None:
        self._check_writable()
        self.withdrawn.append(version)
        route = self.now.route
        if instead is not None:
            self.now = wanted({instead: 100.0})
        elif version in route.split.challengers:
            self.now = self.now.with_route(replace(route, split=route.split.without(version)))

    def advance(self, version: str, *, seen: float, who: str) -> Event | None:
        self.advanced.append((version, seen))
        self._check_writable()
        split = {1: 75.0, int(version): 25.0}
        after = Routing(champion=1, split=split, ramp=int(version))
        self.now = wanted(split)
        return new_event("ramp", after, after, who=who)

    def _check(self) -> None:
        if self.away:
            raise RegistryError("nobody is there")

    def _check_writable(self) -> None:
        self._check()
        if self.read_only:
            raise RegistryError("you may read")


class Bench:
    """A watcher with its enforcer, and what the supervisor was told."""

    def __init__(self, folder: Path, percent: dict[int, float]) -> None:
        self.registry = Registry(percent)
        self.told: list[Wanted] = []
        self.store = LastKnownGood(folder, registry_uri="x")
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.start(self.registry.now)

    def start(self, known: Wanted) -> None:
        """A watcher takes the place of the one before."""
        metrics = MetricsCollector()
        orders = Orders((known,), tell=lambda message: self.told.append(message.wanted))
        self.watcher = Watcher(
            {URI: self.registry}, orders=orders, store=self.store, metrics=metrics, periodic=True
        )
        self.enforcer = Enforcer(orders, sentry=Sentry(), metrics=metrics, post=self.inbox.put)
        self.enforcer.serves(known)

    def saw(self, outcomes: dict[tuple[str, str], Outcomes]) -> None:
        """An API process did, in one tick; and the watcher has done what it was then told."""
        for message in whole_tick(outcomes):
            self.enforcer.observed(message)
        while not self.inbox.empty():
            message = self.inbox.get()
            if isinstance(message, Look):
                self.watcher.poll()
            else:
                self.watcher.advance(message)

    def withdraws(self) -> None:
        """The enforcer does, on its own thread."""
        for message in whole_tick(bad_challenger()):
            self.enforcer.observed(message)

    @property
    def shares(self) -> dict[str, float]:
        return self.told[-1].route.split.shares


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, {1: 90.0, 2: 10.0})


def test_the_supervisor_is_told_of_changes_only(bench):
    bench.watcher.poll()
    bench.watcher.poll()
    assert bench.told == []
    bench.registry.now = wanted({2: 100.0})
    bench.watcher.poll()
    bench.watcher.poll()
    assert bench.told == [wanted({2: 100.0})]


def test_a_registry_that_is_away_is_logged_once_and_so_is_that_it_is_back(bench, caplog):
    caplog.set_level(logging.INFO)
    bench.registry.away = True
    for _ in range(3):
        bench.watcher.poll()
    bench.registry.away = False
    for _ in range(3):
        bench.watcher.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "the registry cannot be asked: what is served stays",
        "the registry answers again",
    ]


@pytest.mark.parametrize(("seconds", "asked"), [(0.0, 2), (0.1, 1)])
def test_a_registry_that_hangs_is_asked_for_one_model_a_poll(tmp_path, monkeypatch, seconds, asked):
    monkeypatch.setattr("serving.routing.watcher.HANGING_SECONDS", 0.05)
    polls = []

    class Hanging:
        def poll(self) -> Wanted:
            polls.append(self)
            time.sleep(seconds)
            raise RegistryError("it took too long")

    watcher = Watcher(
        {"models:/a": Hanging(), "models:/b": Hanging()},
        orders=Orders((), tell=pytest.fail),
        store=LastKnownGood(tmp_path, registry_uri="x"),
        metrics=MetricsCollector(),
        periodic=True,
    )
    watcher.poll()
    assert len(polls) == asked


@pytest.mark.parametrize("periodic", [True, False])
def test_the_age_of_what_is_known_is_told_only_where_the_clock_asks(tmp_path, periodic):
    told = []
    registry = Registry({1: 100.0})
    watcher = Watcher(
        {URI: registry},
        orders=Orders((registry.now,), tell=pytest.fail),
        store=LastKnownGood(tmp_path, registry_uri="x"),
        metrics=SimpleNamespace(registry_polled=told.append),
        periodic=periodic,
    )
    watcher.poll()
    assert bool(told) == periodic


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("model 'a' has no alias 'canary'"),
        RecordError("model 'a' has an unreadable split '[]'"),
    ],
)
def test_a_model_that_cannot_be_followed_is_logged_once_and_others_are_as_fresh_as_before(
    error, tmp_path, caplog
):
    polled, told = [], []

    class Unfollowed:
        def poll(self) -> Wanted:
            raise error

    other = Registry({1: 100.0})
    watcher = Watcher(
        {"models:/a": Unfollowed(), URI: other},
        orders=Orders((other.now,), tell=told.append),
        store=LastKnownGood(tmp_path, registry_uri="x"),
        metrics=SimpleNamespace(registry_polled=polled.append),
        periodic=True,
    )
    other.now = wanted({2: 100.0})
    for _ in range(3):
        watcher.poll()
    assert len(polled) == 3
    assert [message.wanted for message in told] == [other.now]
    [record] = caplog.records
    assert record.fields == {"model": "models:/a", "reason": str(error)}


def test_a_bad_challenger_loses_its_traffic_here_and_in_the_registry(bench):
    bench.saw(bad_challenger())
    assert bench.shares == {"1": 100.0}
    assert bench.registry.withdrawn == ["2"]
    bench.watcher.poll()
    assert bench.shares == {"1": 100.0}


def test_an_operator_may_give_it_traffic_again_before_the_next_poll(bench):
    bench.saw(bad_challenger())
    bench.registry.now = wanted({1: 90.0, 2: 10.0})
    bench.watcher.poll()
    assert bench.shares == {"1": 90.0, "2": 10.0}
    assert bench.registry.withdrawn == ["2"]
    bench.enforcer.serves(bench.registry.now)
    bench.saw({})
    assert bench.shares == {"1": 90.0, "2": 10.0}


def test_an_operator_may_do_so_too_where_the_registry_was_told_late(bench):
    bench.registry.away = True
    bench.saw(bad_challenger())
    bench.registry.away = False
    bench.watcher.poll()
    bench.registry.now = wanted({1: 90.0, 2: 10.0})
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    assert bench.shares == {"1": 90.0, "2": 10.0}


def test_it_loses_it_here_while_the_registry_is_away_and_there_when_it_is_back(bench):
    bench.registry.away = True
    bench.saw(bad_challenger())
    assert bench.shares == {"1": 100.0}
    bench.watcher.poll()
    bench.saw(bad_challenger())
    assert len(bench.told) == 1
    bench.registry.away = False
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    assert bench.shares == {"1": 100.0}
    bench.watcher.poll()
    bench.registry.now = wanted({1: 50.0, 2: 50.0})
    bench.watcher.poll()
    assert bench.shares == {"1": 50.0, "2": 50.0}


def test_a_registry_that_may_only_be_read_is_followed_without_what_was_withdrawn(bench):
    bench.registry.read_only = True
    bench.saw(bad_challenger())
    bench.registry.now = wanted({1: 60.0, 2: 10.0, 3: 30.0})
    bench.watcher.poll()
    assert bench.shares == {"1": 70.0, "3": 30.0}
    assert bench.registry.withdrawn == []


def test_what_was_withdrawn_stays_so_for_the_watcher_that_takes_its_place(bench):
    bench.registry.read_only = True
    bench.saw(bad_challenger())
    bench.start(bench.told[-1])
    bench.watcher.poll()
    assert bench.shares == {"1": 100.0}
    bench.registry.read_only = False
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    assert bench.told[-1].withdrawn == frozenset()
    bench.registry.now = wanted({1: 90.0, 2: 10.0})
    bench.watcher.poll()
    assert bench.shares == {"1": 90.0, "2": 10.0}


def test_without_a_period_the_registry_is_told_again_until_it_is_back(bench, monkeypatch):
    monkeypatch.setattr("serving.routing.schedule.BRIEF_SECONDS", 0.02)
    inbox = bench.inbox
    poll, polls = bench.watcher.poll, []

    def poll_and_be_back_the_third_time() -> None:
        polls.append(time.monotonic())
        bench.registry.away = len(polls) < 3
        poll()
        if not bench.watcher.owing:
            inbox.put(Stop())

    monkeypatch.setattr(bench.watcher, "poll", poll_and_be_back_the_third_time)
    bench.registry.away = True
    for message in whole_tick(bad_challenger()):
        bench.enforcer.observed(message)
    watch(bench.watcher, None, inbox, None, period=0.0)
    assert bench.registry.withdrawn == ["2"]
    assert [later - earlier > 0.03 for earlier, later in pairwise(polls)] == [True, True]


def test_a_champion_is_not_withdrawn_though_it_was_as_a_challenger(bench):
    bench.registry.read_only = True
    bench.saw(bad_challenger())
    bench.registry.now = wanted({2: 100.0})
    bench.registry.read_only = False
    bench.watcher.poll()
    assert bench.told[-1] == wanted({2: 100.0})
    assert bench.registry.withdrawn == []


def test_what_was_seen_before_the_split_changed_does_not_count(bench):
    few = bad_challenger()
    bench.enforcer.serves(wanted({1: 50.0, 2: 50.0}))
    good = Outcomes()
    for _ in range(300):
        good.record(200, [Run(0.01)])
    bench.saw({("m", "1"): few["m", "1"], ("m", "2"): good})
    assert bench.told == []


def test_of_a_split_in_three_the_one_that_is_bad_goes(tmp_path):
    bench = Bench(tmp_path, {1: 60.0, 2: 30.0, 3: 10.0})
    bench.saw(bad_challenger())
    assert bench.shares == {"1": 90.0, "3": 10.0}


def test_of_a_split_in_three_one_goes_while_the_other_may_have_more(tmp_path):
    bench = Bench(tmp_path, {1: 80.0, 2: 10.0, 3: 10.0})
    bench.saw(first_batches())
    good = good_challenger()["m", "1"]
    bad = bad_challenger()["m", "2"]
    bench.saw({("m", "1"): good, ("m", "2"): bad, ("m", "3"): good})
    assert bench.registry.withdrawn == ["2"]
    assert bench.registry.advanced == [("3", 10.0)]


def test_of_a_split_in_three_both_go_that_are_bad(tmp_path):
    bench = Bench(tmp_path, {1: 80.0, 2: 10.0, 3: 10.0})
    good, bad = bad_challenger().values()
    bench.saw({("m", "1"): good, ("m", "2"): bad, ("m", "3"): bad})
    assert bench.shares == {"1": 100.0}
    assert bench.registry.withdrawn == ["2", "3"]


def test_it_loses_it_also_where_the_registry_wants_what_cannot_be_fetched(bench):
    bench.registry.now = replace(wanted({3: 100.0}), sources=())
    bench.watcher.poll()
    bench.saw(bad_challenger())
    assert bench.shares == {"1": 100.0}


def good_challenger() -> dict[tuple[str, str], Outcomes]:
    good = Outcomes()
    for _ in range(3000):
        good.record(200, [Run(0.01)])
    return {("m", "1"): good, ("m", "2"): good}


def first_batches() -> dict[tuple[str, str], Outcomes]:
    """Of the champion: from then on its percentile is known."""
    first = Outcomes()
    for _ in range(FIRST_BATCHES):
        first.record(200, [Run(0.01)])
    return {("m", "1"): first}


def test_a_good_challenger_advances_by_what_it_did_with_the_share_it_had(tmp_path):
    """Until the server has taken the next stage, what is still seen speaks for the one before."""
    bench = Bench(tmp_path, {1: 95.0, 2: 5.0})
    bench.saw(first_batches())
    for _ in range(2):
        bench.saw(good_challenger())
        assert bench.shares == {"1": 75.0, "2": 25.0}
    assert bench.registry.advanced == [("2", 5.0), ("2", 5.0)]
    bench.enforcer.serves(bench.registry.now)
    bench.saw(first_batches())
    assert len(bench.registry.advanced) == 2
    bench.saw(good_challenger())
    assert bench.registry.advanced[-1] == ("2", 25.0)


def test_a_ramp_that_may_not_go_on_is_asked_for_once_a_poll_and_logged_once(tmp_path, caplog):
    bench = Bench(tmp_path, {1: 95.0, 2: 5.0})
    bench.saw(first_batches())
    bench.registry.read_only = True
    for asked in (1, 2):
        for _ in range(3):
            bench.saw(good_challenger())
        assert len(bench.registry.advanced) == asked
        bench.watcher.poll()
    assert bench.told == []
    assert [record.getMessage() for record in caplog.records] == ["a ramp cannot go on"]


def test_who_rings_again_and_again_is_heard_once_a_while(monkeypatch):
    monkeypatch.setattr("serving.routing.schedule.SHORTEST_PAUSE", 0.2)
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    polls: list[float] = []

    class Polled:
        owing = False

        def poll(self) -> None:
            polls.append(time.monotonic())
            inbox.put(Look() if len(polls) < 3 else Stop())

    inbox.put(Look())
    watch(Polled(), None, inbox, None, period=0.0)
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(polls))


def test_of_many_messages_at_once_one_look_comes():
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    polls = []

    class Polled:
        owing = False

        def poll(self) -> None:
            polls.append(inbox.qsize())
            inbox.put(Stop())

    for _ in range(5):
        inbox.put(Look())
    watch(Polled(), None, inbox, None, period=0.0)
    assert polls == [0]


def test_backoff_waits_longer_each_time_and_forgets_when_it_is_told():
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    assert backoff.reason("x") is None
    for delay in (FIRST_SECONDS, 2 * FIRST_SECONDS):
        backoff.failed("x", "why")
        now[0] += delay - 1
        assert backoff.reason("x") == "why"
        now[0] += 1
        assert backoff.reason("x") is None
    backoff.failed("x", "why")
    backoff.clear()
    assert backoff.reason("x") is None


def test_a_process_takes_a_route_when_it_knows_all_of_its_versions():
    def route(percent: dict[int, float]) -> Route:
        found = wanted(percent).route
        assert found is not None
        return found

    table = RoutingTable()
    table.update(Routes((route({1: 100.0}),)), [("m", "1")])
    table.update(Routes((route({1: 50.0, 2: 50.0}),)), [("m", "1")])
    assert table.shares("m") == {"1": 100.0}
    table.settle([("m", "1"), ("m", "2")])
    assert table.shares("m") == {"1": 50.0, "2": 50.0}
    table.update(Routes(()), [])
    assert table.shares("m") == {}
    assert table.route("m") is None


def test_what_is_thought_of_a_challenger_can_be_asked_for(bench):
    assert bench.enforcer.judgements("m") == {
        "guardrail": "rollback",
        "challengers": [
            {
                "uri": URI,
                "version": "2",
                "percent": 10.0,
                "verdict": "hold",
                "reason": "0 of 20 batches compared",
            }
        ],
    }
    with pytest.raises(NotFoundError, match="does not follow the model 'other'"):
        bench.enforcer.judgements("other")


def test_what_is_on_its_way_while_a_challenger_is_withdrawn_is_wanted_still(bench):
    """The registry gives the challenger nothing any more, and so has nothing to be told."""
    bench.registry.now = wanted({3: 100.0})
    bench.watcher.poll()
    bench.saw(bad_challenger())
    assert bench.told[1].route.split.shares == {"1": 100.0}
    assert bench.shares == {"3": 100.0}
    assert not bench.watcher.owing


def test_a_challenger_loses_its_traffic_while_the_registry_takes_its_time(bench, monkeypatch):
    """And what the registry said before it knew gives it nothing."""
    asked, may_answer = threading.Event(), threading.Event()
    stale = wanted({1: 60.0, 2: 30.0, 3: 10.0})

    def hang() -> Wanted:
        asked.set()
        assert may_answer.wait(60)
        return stale

    monkeypatch.setattr(bench.registry, "poll", hang)
    asking = threading.Thread(target=bench.watcher.poll, daemon=True)
    asking.start()
    assert asked.wait(60)
    try:
        bench.withdraws()
        assert bench.shares == {"1": 100.0}
    finally:
        may_answer.set()
        asking.join(60)
    assert bench.shares == {"1": 90.0, "3": 10.0}
    assert bench.registry.withdrawn == ["2"]
    assert isinstance(bench.inbox.get(timeout=60), Look)


def test_a_challenger_that_was_found_good_and_then_bad_advances_no_more(bench):
    bench.withdraws()
    bench.watcher.advance(Advance(URI, "2", 10.0, time.monotonic()))
    assert bench.registry.advanced == []


@pytest.mark.parametrize("fails", [False, True], ids=["written", "written but said to be not"])
def test_one_that_was_withdrawn_while_its_last_stage_was_written_is_not_champion(
    bench, monkeypatch, fails
):
    def promote(version: str, *, seen: float, who: str) -> Event:
        bench.withdraws()
        bench.registry.now = wanted({2: 100.0})
        if fails:
            raise RegistryError("it took too long")
        before = Routing(champion=1, split={1: 75.0, 2: 25.0}, ramp=2)
        return new_event("promote", before, Routing(champion=2), who=who)

    monkeypatch.setattr(bench.registry, "advance", promote)
    bench.watcher.advance(Advance(URI, "2", 25.0, time.monotonic()))
    bench.watcher.poll()
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    assert bench.shares == {"1": 100.0}
    assert not bench.watcher.owing


def test_one_that_was_withdrawn_while_the_end_of_its_ramp_was_read_is_not_champion(
    bench, monkeypatch
):
    """And until the registry can be told of it, it is owed that."""
    poll = bench.registry.poll

    def promoted(version: str, *, seen: float, who: str) -> Event:
        bench.registry.now = wanted({2: 100.0})
        before = Routing(champion=1, split={1: 75.0, 2: 25.0}, ramp=2)
        return new_event("promote", before, Routing(champion=2), who=who)

    def read() -> Wanted:
        monkeypatch.setattr(bench.registry, "poll", poll)
        bench.withdraws()
        bench.registry.read_only = True
        return wanted({2: 100.0})

    monkeypatch.setattr(bench.registry, "advance", promoted)
    monkeypatch.setattr(bench.registry, "poll", read)
    bench.watcher.advance(Advance(URI, "2", 25.0, time.monotonic()))
    bench.watcher.poll()
    assert bench.shares == {"1": 100.0}
    assert bench.watcher.owing
    bench.registry.read_only = False
    bench.watcher.poll()
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    assert bench.shares == {"1": 100.0}
    assert not bench.watcher.owing


def test_an_operator_may_promote_what_was_withdrawn(bench):
    bench.registry.read_only = True
    bench.saw(bad_challenger())
    assert bench.watcher.owing
    bench.registry.now = wanted({2: 100.0})
    bench.watcher.poll()
    assert bench.shares == {"2": 100.0}


def test_what_was_found_long_ago_advances_nothing(bench):
    bench.watcher.advance(Advance(URI, "2", 10.0, time.monotonic() - STALE_SECONDS))
    assert bench.registry.advanced == []


def test_the_registry_is_told_once_though_a_version_is_still_on_its_way(bench):
    """And an operator may give the challenger traffic again meanwhile."""
    awaited = {1: 60.0, 2: 10.0, 3: 30.0}
    bench.registry.now = without_3(awaited)
    bench.saw(bad_challenger())
    assert bench.shares == {"1": 100.0}
    assert not bench.watcher.owing
    bench.registry.now = without_3({1: 50.0, 2: 20.0, 3: 30.0})
    bench.watcher.poll()
    assert bench.registry.withdrawn == ["2"]
    bench.registry.now = wanted({1: 50.0, 2: 20.0, 3: 30.0})
    bench.watcher.poll()
    assert bench.shares == {"1": 50.0, "2": 20.0, "3": 30.0}


def without_3(percent: dict[int, float]) -> Wanted:
    """Its version 3 is not here yet."""
    whole = wanted(percent)
    return replace(whole, sources=tuple(s for s in whole.sources if s.version != "3"))


def test_what_answers_loses_it_where_the_route_that_is_wanted_cannot_be_taken(bench):
    """A version of that may be loading, or be refused by the workers."""
    bench.registry.now = wanted({1: 50.0, 2: 25.0, 3: 25.0})
    bench.watcher.poll()
    bench.saw(bad_challenger())
    assert [told.route.split.shares for told in bench.told[1:]] == [
        {"1": 100.0},
        {"1": 75.0, "3": 25.0},
        {"1": 75.0, "3": 25.0},  # the registry knows
    ]
    assert bench.registry.withdrawn == ["2"]


def test_a_version_that_was_promoted_meanwhile_is_not_called_rolled_back(bench, caplog):
    bench.registry.now = wanted({2: 100.0})
    bench.watcher.poll()
    bench.saw(bad_challenger())
    assert bench.shares == {"2": 100.0}
    assert not caplog.records


def test_who_was_withdrawn_stays_so_when_another_one_is(tmp_path):
    """Also where the registry has wanted something else in between, which is not here yet."""
    bench = Bench(tmp_path, {1: 80.0, 2: 10.0, 3: 10.0})
    good, bad = bad_challenger().values()
    bench.saw({("m", "1"): good, ("m", "2"): bad, ("m", "3"): good})
    bench.registry.now = wanted({4: 100.0})
    bench.watcher.poll()
    bench.saw({("m", "1"): good, ("m", "3"): bad})
    assert [told.route.split.shares for told in bench.told[-2:]] == [{"1": 100.0}, {"4": 100.0}]


def test_a_withdrawal_is_told_once_and_once_more_when_the_registry_knows(bench):
    bench.saw(bad_challenger())
    assert [sorted(told.withdrawn) for told in bench.told] == [["2"], []]
