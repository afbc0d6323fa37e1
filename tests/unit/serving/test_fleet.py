"""The fleet: which versions are held, and when a route is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bundle.errors import RequestError
from bundle.uri import Resolved
from serving.routing.budget import Budget
from serving.routing.fleet import Fleet, Start
from serving.routing.split import Split
from serving.routing.wanted import Refusal, Route, Wanted
from tests.tiny_bundle import image_parts

URI = "models:/m"


def source(version: str) -> Resolved:
    return Resolved(name="m", version=version, path=Path(f"/cache/m/{version}"), bare=False)


def wanted(*, attempt: int = 0, **percent: float) -> Wanted:
    """`wanted(v1=90, v2=10)`."""
    shares = {int(name[1:]): share for name, share in percent.items()}
    return Wanted(
        uri=URI,
        sources=tuple(source(str(number)) for number in shares),
        route=Route(name="m", salt="m", split=Split.of(shares, champion=min(shares))),
        attempt=attempt,
    )


def fleet(first: Wanted, *, known: Wanted | None = None, workers: int = 1) -> Fleet:
    """With workers that hold all that they are to."""
    made = Fleet([Start(first, known)])
    obey(made, workers)
    return made


def obey(fleet: Fleet, workers: int = 1) -> None:
    for worker in range(workers):
        fleet.report(worker, fleet.sources)


def routed(fleet: Fleet) -> dict[str, float]:
    [route] = fleet.routes
    return route.split.shares


def held(fleet: Fleet) -> set[str]:
    return {found.version for found in fleet.sources}


def test_a_route_is_taken_when_every_worker_holds_its_versions():
    made = fleet(wanted(v1=100), workers=2)
    made.want(wanted(v2=100))
    assert held(made) == {"1", "2"}
    made.report(0, made.sources)
    assert routed(made) == {"1": 100}
    made.report(1, made.sources)
    assert routed(made) == {"2": 100}


def test_a_worker_that_died_is_not_waited_for():
    made = fleet(wanted(v1=100), workers=2)
    made.want(wanted(v2=100))
    made.report(0, made.sources)
    made.lost(1)
    made.report(0, made.sources)
    assert routed(made) == {"2": 100}


def test_no_route_is_taken_while_no_worker_runs():
    made = fleet(wanted(v1=100))
    made.lost(0)
    made.want(wanted(v2=100))
    assert routed(made) == {"1": 100}


def test_one_version_before_stays_held_and_takes_the_traffic_back_at_once():
    made = fleet(wanted(v1=100))
    for number in (2, 3):
        made.want(wanted(**{f"v{number}": 100}))
        obey(made)
    assert held(made) == {"2", "3"}
    obey(made)
    made.want(wanted(v2=100))
    assert routed(made) == {"2": 100}
    assert held(made) == {"2", "3"}


def test_of_a_split_the_version_that_answered_most_stays_held():
    made = fleet(wanted(v1=20, v2=70, v3=10))
    made.want(wanted(v4=100))
    obey(made)
    assert held(made) == {"2", "4"}


def test_a_refused_version_leaves_the_route_as_it_is_until_the_registry_changes():
    made = fleet(wanted(v1=100))
    made.want(wanted(v1=50, v2=50))
    [(_, found, reason)] = made.report(0, [source("1")], refused=[(source("2"), "it is bad")])
    assert (found, reason) == (source("2"), "it is bad")
    assert routed(made) == {"1": 100}
    assert held(made) == {"1"}
    assert made.refused == (Refusal(name="m", version="2", reason="it is bad"),)
    assert made.report(0, [source("1")], refused=[(source("2"), "it is bad")]) == []
    made.want(wanted(v1=50, v2=50, attempt=1))
    assert held(made) == {"1", "2"}
    made.want(wanted(v1=100))
    assert made.refused == ()


def test_a_version_that_could_not_be_fetched_leaves_the_route_as_it_is():
    made = fleet(wanted(v1=100))
    refusal = Refusal(name="m", version="2", reason="damaged")
    made.want(replace(wanted(v1=50, v2=50), sources=(source("1"),), refused=(refusal,)))
    obey(made)
    assert routed(made) == {"1": 100}
    assert made.refused == (refusal,)


def test_what_answers_is_never_refused():
    made = fleet(wanted(v1=100))
    assert made.report(0, [], refused=[(source("1"), "no memory")]) == []
    assert held(made) == {"1"}
    assert made.refused == ()


def test_a_version_at_which_a_worker_dies_is_refused():
    made = fleet(wanted(v1=100))
    made.want(wanted(v2=100))
    made.report(0, [source("1")], loading=source("2"))
    [(_, found, reason)] = made.lost(0)
    assert found == source("2")
    assert "died" in reason
    assert held(made) == {"1"}


def test_the_only_version_there_is_is_not_refused_for_a_death():
    made = Fleet([Start(wanted(v1=100))])
    made.report(0, [], loading=source("1"))
    assert made.lost(0) == []
    assert held(made) == {"1"}


def test_at_the_start_what_was_served_last_answers_until_what_is_wanted_is_held():
    made = Fleet([Start(wanted(v2=100), wanted(v1=100))])
    assert routed(made) == {"1": 100}
    assert held(made) == {"1", "2"}
    made.report(0, [source("1")], refused=[(source("2"), "bad")])
    assert routed(made) == {"1": 100}
    made.want(wanted(v2=100, attempt=1))
    obey(made)
    assert routed(made) == {"2": 100}


def test_pinned_models_are_held_and_not_routed():
    pinned = Wanted(uri="folder", sources=(source("x"),))
    made = Fleet([Start(pinned), Start(wanted(v1=100))])
    obey(made)
    assert made.pinned == {source("x")}
    assert [found.version for found in made.sources] == ["x", "1"]
    assert routed(made) == {"1": 100}
    assert made.wanted == (wanted(v1=100),)


@pytest.mark.parametrize("wrong", [{}, {"uri": URI}, {"uri": URI, "name": "m", "split": []}])
def test_wanted_is_read_back_as_it_was_written(wrong):
    entry = wanted(v1=90, v2=10)
    assert Wanted.from_dict(entry.to_dict()) == entry
    with pytest.raises((KeyError, ValueError)):
        Wanted.from_dict(wrong)


def other(version: str) -> Wanted:
    """Another model at that version."""
    held = Resolved(name="n", version=version, path=Path(f"/cache/n/{version}"), bare=False)
    route = Route(name="n", salt="n", split=Split.of({int(version): 100.0}, champion=None))
    return Wanted(uri="models:/n", sources=(held,), route=route)


def test_of_what_no_route_needs_the_longest_unused_leaves_when_there_is_no_room():
    made = Fleet([Start(wanted(v1=100)), Start(other("1"))], Budget(models=3))
    obey(made)
    made.want(wanted(v2=100))
    obey(made)
    assert {(s.name, s.version) for s in made.sources} == {("m", "1"), ("m", "2"), ("n", "1")}
    made.want(other("2"))
    assert {(s.name, s.version) for s in made.sources} == {("m", "2"), ("n", "1"), ("n", "2")}
    made.report(0, made.sources, used={source("1"): 5.0, other("1").sources[0]: 9.0})
    assert {(s.name, s.version) for s in made.sources} == {("m", "2"), ("n", "1"), ("n", "2")}
    made.report(0, made.sources, used={source("1"): 20.0})
    assert {(s.name, s.version) for s in made.sources} == {("m", "1"), ("m", "2"), ("n", "2")}


def test_a_version_without_room_beside_what_answers_is_refused():
    made = Fleet([Start(wanted(v1=100))], Budget(models=1))
    obey(made)
    [(_, found, reason)] = made.want(wanted(v2=100))
    assert (found, reason) == (source("2"), "2 versions are more than --max-models 1")
    assert held(made) == {"1"}
    assert routed(made) == {"1": 100}


def test_a_server_that_exceeds_its_budget_from_the_start_does_not_start():
    with pytest.raises(RequestError, match="--max-models 1"):
        Fleet([Start(wanted(v1=100)), Start(other("1"))], Budget(models=1))


def test_the_budget_counts_the_bytes_of_the_variant_that_is_run(tmp_path):
    bundle = image_parts().write(tmp_path / "bundle")
    found = Resolved(name=None, version="x", path=bundle.path, bare=False)
    size = (bundle.path / "model.onnx").stat().st_size
    bare = Resolved(name=None, version="x", path=bundle.path / "model.onnx", bare=True)
    assert Budget(bytes=size).exceeded([found]) == ""
    assert Budget(bytes=size).exceeded([bare]) == ""
    assert "MiB of models are more than" in Budget(bytes=size - 1).exceeded([found])


def test_the_budget_counts_a_bundle_as_soon_as_it_can_be_read(tmp_path):
    found = Resolved(name=None, version="x", path=tmp_path / "bundle", bare=False)
    assert Budget(bytes=1).exceeded([found]) == ""
    image_parts().write(tmp_path / "bundle")
    assert "MiB of models are more than" in Budget(bytes=1).exceeded([found])


def test_a_shadow_is_held_apart_and_no_route_waits_for_it():
    made = fleet(wanted(v1=100))
    shaded = replace(wanted(v1=100), shadow=source("4"))
    made.want(shaded)
    assert held(made) == {"1"}
    assert made.shadows == (source("4"),)
    assert made.settled == (shaded,)
    [refusal] = made.refuse_shadow(source("4"), "it is bad")
    assert refusal == (shaded, source("4"), "it is bad")
    assert made.shadows == ()
    assert made.refused == (Refusal(name="m", version="4", reason="it is bad"),)
    assert made.refuse_shadow(source("4"), "it is bad") == []
    made.want(replace(shaded, attempt=1))
    assert made.shadows == (source("4"),)


def test_a_version_that_answers_stays_held_whatever_becomes_of_it_as_a_shadow():
    made = fleet(wanted(v4=100))
    made.want(replace(wanted(v4=100), shadow=source("4")))
    made.refuse_shadow(source("4"), "it is bad")
    assert held(made) == {"4"}
    assert made.shadows == ()
