"""The shelf of a worker: loading beside what answers, and letting go by reference count."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle.errors import IntegrityError, RequestError
from bundle.uri import Resolved
from serving.metrics import MetricsCollector
from serving.shelf import Shelf
from tests.running_server import eventually


@dataclass(frozen=True)
class Info:
    name: str
    version: str
    variant: str = "fp32"
    engine: str = "none"
    provider: str = "cpu"


def source(version: str, name: str = "m") -> Resolved:
    return Resolved(name=name, version=version, path=Path(f"/{name}/{version}"), bare=False)


class Bench:
    """A shelf whose models are names only; versions in `bad` do not load."""

    def __init__(self, bad: set[str] = frozenset(), *, bounded: bool = False) -> None:
        self.bad = set(bad)
        self.told: list[object] = []
        self.catalogs: list[list[str]] = []
        self.loads: list[str] = []
        self.is_released = True
        self.is_idle = True
        self.shelf = Shelf(
            self.load, metrics=MetricsCollector(), tell=self.told.append, bounded=bounded
        )

    def load(self, source: Resolved):
        self.loads.append(source.version)
        if source.version in self.bad:
            raise IntegrityError(f"version {source.version} is bad")
        key = (source.name, source.version)
        return SimpleNamespace(key=key, name=key[0], version=key[1], info=Info(*key))

    def start(self, *versions: str) -> Shelf:
        self.shelf.fill([source(v) for v in versions], pinned=frozenset())
        self.shelf.start(self, self)
        return self.shelf

    def announce(self, catalog) -> None:
        self.catalogs.append([model["version"] for model in catalog["models"]])

    def released(self, serial: int) -> bool:
        return self.is_released

    def idle(self, model) -> bool:
        return self.is_idle

    def used(self) -> dict:
        return {}

    @property
    def held(self) -> set[str]:
        return {version for _, version in self.shelf.models}


def test_a_new_version_is_offered_beside_the_old_one():
    bench = Bench()
    bench.start("1").hold((source("2"), source("1")))
    eventually(lambda: bench.catalogs == [["2", "1"]])
    assert bench.held == {"1", "2"}
    eventually(lambda: bench.told[-1].sources == {source("1"), source("2")})


@pytest.mark.parametrize("blocked", ["is_released", "is_idle"])
def test_a_version_is_unloaded_when_nobody_can_ask_for_it_and_nothing_waits(blocked):
    bench = Bench()
    setattr(bench, blocked, False)
    bench.start("1", "2").hold((source("2"),))
    eventually(lambda: bench.catalogs == [["2"]])
    threading.Event().wait(0.1)
    assert bench.held == {"1", "2"}
    setattr(bench, blocked, True)
    eventually(lambda: bench.held == {"2"})


def test_a_version_is_loaded_beside_one_that_cannot_leave_yet(monkeypatch):
    monkeypatch.setattr("serving.shelf.ROOM_SECONDS", 3600.0)
    bench = Bench()
    bench.is_idle = False
    bench.start("1", "2").hold((source("2"), source("3")))
    eventually(lambda: bench.held == {"1", "2", "3"})


def test_where_there_is_a_budget_a_version_waits_for_the_one_that_leaves(monkeypatch):
    monkeypatch.setattr("serving.shelf.ROOM_SECONDS", 3600.0)
    bench = Bench(bounded=True)
    bench.is_idle = False
    bench.start("1", "2").hold((source("2"), source("3")))
    eventually(lambda: bench.catalogs == [["2"]])
    threading.Event().wait(0.1)
    assert bench.loads == ["1", "2"]
    bench.is_idle = True
    eventually(lambda: bench.held == {"2", "3"})


def test_a_version_that_is_wanted_again_before_it_left_is_not_loaded_anew():
    bench = Bench()
    bench.is_idle = False
    shelf = bench.start("1", "2")
    shelf.hold((source("2"),))
    eventually(lambda: bench.catalogs == [["2"]])
    shelf.hold((source("1"), source("2")))
    eventually(lambda: bench.catalogs[-1] == ["1", "2"])
    bench.is_idle = True
    threading.Event().wait(0.1)
    assert bench.held == {"1", "2"}
    assert bench.loads == ["1", "2"]


def test_a_version_that_does_not_load_is_told_with_its_reason_and_not_tried_again():
    bench = Bench(bad={"2"})
    shelf = bench.start("1")
    shelf.hold((source("2"), source("1")))
    eventually(lambda: bench.told and bench.told[-1].refused)
    assert bench.told[-1].refused == ((source("2"), "version 2 is bad"),)
    shelf.hold((source("2"), source("1"), source("3")))
    eventually(lambda: bench.held == {"1", "3"})
    assert bench.loads.count("2") == 1
    shelf.hold((source("1"), source("3")))
    bench.bad.clear()
    eventually(lambda: not bench.told[-1].refused)
    shelf.hold((source("2"), source("1"), source("3")))
    eventually(lambda: bench.held == {"1", "2", "3"})


def test_a_version_is_announced_before_it_is_loaded():
    bench = Bench()
    bench.start("1").hold((source("2"), source("1")))
    eventually(lambda: source("2") in [getattr(found, "loading", None) for found in bench.told])


def test_fill_needs_one_version_of_each_model_and_all_that_are_pinned():
    bench = Bench(bad={"1"})
    bench.shelf.fill([source("1"), source("2")], pinned=frozenset())
    bench.shelf.report()
    assert bench.told[-1].refused == ((source("1"), "version 1 is bad"),)
    with pytest.raises(IntegrityError):
        Bench(bad={"1"}).shelf.fill([source("1"), source("2", "other")], pinned=frozenset())
    with pytest.raises(IntegrityError):
        Bench(bad={"1"}).shelf.fill([source("1"), source("2")], pinned={source("1")})


def test_fill_refuses_two_models_of_one_name_and_version():
    twice = [source("1"), Resolved(name="m", version="1", path=Path("/else"), bare=False)]
    with pytest.raises(RequestError, match="two models are called"):
        Bench().shelf.fill(twice, pinned=frozenset(twice))


class Torn(Bench):
    """Nobody can be told what there is."""

    def announce(self, catalog) -> None:
        raise ConnectionError("the port is gone")


def _obey() -> None:
    Torn().start("1").hold((source("2"),))
    threading.Event().wait()


def test_a_process_whose_shelf_fails_ends():
    process = multiprocessing.get_context("spawn").Process(target=_obey, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 1
