"""Versions come and go while the server runs, from a real registry, good and bad ones."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from tests import damage
from tests.followed_model import (
    NAME,
    FollowedModel,
    events,
    index,
    version,
    versions,
    watcher_pid,
)
from tests.running_server import RunningServer, eventually, run_until_exit
from tests.tiny_bundle import Parts, image_parts
from tests.traffic import traffic

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path, empty_registry):
    """Version 1 is champion."""
    return FollowedModel.create(tmp_path, empty_registry, versions=1)


DAMAGES = {
    damage.cut_short: "bytes",
    damage.altered: "sha256",
    damage.not_there: "missing",
    damage.with_a_stray_file: "stray",
    damage.linked: "",
    damage.other_manifest: "registered",
    damage.broken_manifest: "JSON",
    damage.leading_out: "'..'",
    damage.leading_to_the_root: "absolute",
}
"""And what the reason says."""
VOUCHED = {damage.broken_manifest, damage.leading_out, damage.leading_to_the_root}


def vouch(model: FollowedModel, number: int) -> None:
    """The registry says of whatever manifest there is that it is the one."""
    from mlflow.tracking import MlflowClient

    content = (model.artifacts(number) / "manifest.json").read_bytes()
    MlflowClient(model.registry.uri).set_model_version_tag(
        NAME, str(number), "trainyard.manifest_sha256", hashlib.sha256(content).hexdigest()
    )


def kept(model: FollowedModel) -> list[Path]:
    """What a server has kept for its next start."""
    return list((model.folder / "cache").glob("last-known-good/*.json"))


def wrong_golden() -> Parts:
    """Every hash is right, but the model answers otherwise than the golden examples say."""
    one, other = image_parts(seed=1), image_parts(seed=2)
    return Parts(one.manifest, {**one.files, "model.onnx": other.files["model.onnx"]})


def test_bad_versions_are_refused_with_their_reason_and_the_old_one_stays(model):
    numbers = []
    for harm in DAMAGES:
        numbers.append(model.register())
        harm(model.artifacts(numbers[-1]))
        if harm in VOUCHED:
            vouch(model, numbers[-1])
    numbers.append(model.register(wrong_golden()))
    reasons = [*DAMAGES.values(), "golden"]
    with model.serve("--workers", "2") as server, server.client() as client:
        for number, reason in zip(numbers, reasons, strict=True):
            model.registry.promote(NAME, number)
            eventually(lambda n=str(number): index(client).get(n, ("",))[0] == "UNAVAILABLE")
            assert reason in index(client)[str(number)][1]
            ready = client.post("/v2/repository/index", json={"ready": True}).json()
            assert [entry["version"] for entry in ready] == ["1"]
            assert version(client) == "1"
            refused = client.get("/health").json()["refused"]
            assert refused == [{"name": NAME, "version": str(number)}]
        time.sleep(1.5)  # three looks at the registry, which try nothing again
        told = [event["version"] for event in events(server, "a version is refused")]
        assert told == [str(number) for number in numbers]
        good = model.register()
        model.registry.promote(NAME, good)
        eventually(lambda: version(client) == str(good))
        assert index(client) == {str(good): ("READY", ""), "1": ("READY", "")}
        assert "refused" not in client.get("/health").json()
        assert server.metric("trainyard_process_deaths_total") == 0
    assert not list(model.folder.rglob("evil"))
    cached = model.folder / "cache" / "models" / NAME
    whole = {str(number) for number in (1, good, numbers[-1])}  # and of the others no trace
    assert {path.parent.name for path in cached.glob("*/*")} == whole


@pytest.mark.soak
def test_a_refused_version_at_the_start_is_an_error_only_where_nothing_else_is_known(model):
    bad = model.register(wrong_golden())
    with model.serve() as server, server.client() as client:
        assert version(client) == "1"
        eventually(lambda: kept(model))
    model.registry.promote(NAME, bad)
    with model.serve() as server, server.client() as client:
        assert version(client) == "1"
        assert index(client)[str(bad)][0] == "UNAVAILABLE"
    code, log = run_until_exit(
        *("--model", f"models:/{NAME}"),
        folder=model.folder,
        environment=model.environment | {"TRAINYARD_CACHE": str(model.folder / "empty")},
    )
    assert code == 1
    assert "golden" in log
    assert "Traceback" not in log


def test_a_refusal_at_the_start_is_logged_by_the_same_keys_as_later(model):
    with model.serve():
        eventually(lambda: kept(model))
    bad = model.register()
    damage.cut_short(model.artifacts(bad))
    model.registry.promote(NAME, bad)
    with model.serve() as server:
        eventually(lambda: events(server, "a version is refused"))
        later = model.register()
        damage.cut_short(model.artifacts(later))
        model.registry.promote(NAME, later)
        eventually(lambda: len(events(server, "a version is refused")) == 2)
        found = events(server, "a version is refused")
    assert [(event["model"], event["version"]) for event in found] == [
        (NAME, str(bad)),
        (NAME, str(later)),
    ]
    assert found[0].keys() == found[1].keys()


@pytest.mark.parametrize("whole", [True, False])
def test_nobody_answers_in_the_place_of_a_bad_version_where_nothing_was_served_before(model, whole):
    bad = model.register(wrong_golden() if whole else None)
    model.registry.split(NAME, {1: 1.0, bad: 99.0})
    if not whole:
        damage.cut_short(model.artifacts(bad))
    code, log = run_until_exit(
        *("--model", f"models:/{NAME}", "--threads", "1"),
        folder=model.folder,
        environment=model.environment,
    )
    assert code == 1
    assert ("golden" if whole else "bytes") in log.splitlines()[-1]
    assert "Traceback" not in log
    assert "ready http" not in log


def test_the_registry_may_be_away_also_at_the_start_and_is_followed_when_it_is_back(model):
    away = model.folder / "away.db"
    fixed = ("--model", f"first=models:/{NAME}/1")
    with model.serve(*fixed) as server:
        eventually(lambda: server.metric("trainyard_registry_age_seconds") < 5)
        eventually(lambda: kept(model))
    model.database.rename(away)
    with model.serve(*fixed) as server, server.client() as client:
        assert version(client) == "1"
        assert version(client, model="first") == "1"
        assert "served as it was served last" in server.log
        eventually(lambda: events(server, "the registry cannot be asked: what is served stays"))
        age = server.metric("trainyard_registry_age_seconds")
        time.sleep(1.2)
        assert server.metric("trainyard_registry_age_seconds") >= age + 1
        assert version(client) == "1"
        away.rename(model.database)
        eventually(lambda: events(server, "the registry answers again"))
        number = model.register()
        model.registry.promote(NAME, number)
        eventually(lambda: version(client) == str(number))
        eventually(lambda: server.metric("trainyard_registry_age_seconds") < 5)
        assert len(events(server, "the registry cannot be asked: what is served stays")) == 1


def test_a_server_that_never_knew_its_model_says_that_the_registry_is_away(model):
    model.database.rename(model.folder / "away.db")
    code, log = run_until_exit(
        "--model", f"models:/{NAME}", folder=model.folder, environment=model.environment
    )
    assert code == 1
    assert "there is no registry" in log


def test_a_killed_watcher_is_replaced_and_requests_do_not_notice(model):
    with model.serve() as server, server.client() as client:
        os.kill(watcher_pid(server), signal.SIGKILL)
        assert version(client) == "1"
        eventually(lambda: server.metric("trainyard_process_deaths_total", kind="watcher") == 1)
        number = model.register()
        model.registry.promote(NAME, number)
        eventually(lambda: version(client) == str(number))
        assert client.get("/health").json()["status"] == "ready"


def test_other_aliases_and_fixed_versions_beside_a_followed_model(model):
    second = model.register()
    with (
        model.serve(
            *("--model", f"newest=models:/{NAME}@candidate"),
            *("--model", f"first=models:/{NAME}/1", "--poll-seconds", "0.3"),
        ) as server,
        server.client() as client,
    ):
        assert version(client) == "1"
        assert version(client, model="newest") == str(second)
        third = model.register()
        eventually(lambda: version(client, model="newest") == str(third))
        model.registry.promote(NAME, second)
        eventually(lambda: version(client) == str(second))
        assert version(client, model="first") == "1"


def test_without_polling_what_was_found_at_the_start_stays(model):
    with (
        model.serve("--poll-seconds", "0", "--guardrail", "off") as server,
        server.client() as client,
    ):
        model.registry.promote(NAME, model.register())
        time.sleep(1)
        assert version(client) == "1"
        assert watcher_pid(server) == 0
        assert not server.scrape().by("trainyard_registry_age_seconds")


def memory(server: RunningServer) -> float:
    """MiB of the whole tree; what several processes share is counted once."""
    processes = [psutil.Process(server.process.pid), *server.children()]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def reload(model: FollowedModel, client, number: int) -> None:
    model.registry.promote(NAME, number)
    eventually(lambda: set(versions(client, range(8))) == {str(number)}, seconds=200)


@pytest.mark.slow
def test_ten_reloads_under_load_fail_no_request(model):
    for _ in range(2):
        model.register()
    arguments = ("--api-processes", "2", "--workers", "2", "--poll-seconds", "0.2")
    with model.serve(*arguments) as server, server.client() as client:
        with traffic(server) as (statuses, health):
            for count in range(10):
                reload(model, client, 1 + (count + 1) % 3)
        print(f"{len(statuses)} requests, /health at most {max(health) * 1000:.0f} ms")
        assert set(statuses) == {200}
        unloaded = events(server, "a version is unloaded")
        assert len(unloaded) >= 2 * 7
        assert server.metric("trainyard_process_deaths_total") == 0


WARM_UP = 12
"""Reloads that fill allocators and caches; each of three versions comes and goes in them."""


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_reloads_under_load_fail_no_request_and_leave_no_memory(model):
    for _ in range(2):
        model.register()
    arguments = ("--api-processes", "2", "--poll-seconds", "0.2")
    with model.serve(*arguments) as server, server.client() as client:
        with traffic(server, clients=2) as (statuses, health):
            used = []
            for count in range(WARM_UP + 100):
                reload(model, client, 1 + (count + 1) % 3)
                used.append(memory(server))
        early, late = np.median(used[WARM_UP - 6 : WARM_UP]), np.median(used[-6:])
        slowest = sorted(health)[int(0.999 * len(health))]
        print(f"MiB after each tenth reload: {[round(mib) for mib in used[::10]]}")
        print(
            f"{len(statuses)} requests, /health 99.9 % within {slowest * 1000:.0f} ms, "
            f"at most {max(health) * 1000:.0f} ms, memory {early:.1f} to {late:.1f} MiB, "
            f"{late / early - 1:+.2%}"
        )
        assert set(statuses) == {200}
        assert late <= early * 1.01
        assert slowest <= 0.1


def carried_out(server, client, change) -> tuple[float, float]:
    """Seconds from the change in the registry to the first answer by another version, and to the
    last by the old one.
    """
    old = version(client)
    change()
    began = time.monotonic()
    eventually(lambda: version(client) != old)
    first = time.monotonic() - began
    eventually(lambda: old not in versions(client, range(40)))
    return first, time.monotonic() - began


@pytest.mark.parametrize(
    ("period", "late"),
    [
        pytest.param(1.0, 30.0, id="busy"),  # with other tests
        pytest.param(1.0, 1.0, id="1 s"),
        pytest.param(5.0, 1.0, id="5 s"),
    ],
)
@pytest.mark.soak
def test_a_promotion_and_a_rollback_reach_four_api_processes_within_a_period_and_a_second(
    model, period, late
):
    model.register()
    arguments = ("--api-processes", "4", "--poll-seconds", str(period))
    with model.serve(*arguments) as server, server.client() as client:
        eventually(lambda: server.metric("trainyard_registry_age_seconds") < period)
        for what, change in {
            "promotion": lambda: model.registry.promote(NAME, 2),
            "rollback": lambda: model.registry.rollback(NAME),
        }.items():
            first, last = carried_out(server, client, change)
            print(f"{what}: first answer after {first:.2f} s, no old one after {last:.2f} s")
            assert last <= period + late
