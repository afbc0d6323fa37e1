"""Property 25 over HTTP: a key's version is the same in every process, after a restart, and stays
with the challenger when a ramp goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bundle.registry.ramp import STAGES
from tests.api_clients import api_clients
from tests.followed_model import NAME, FollowedModel, version
from tests.running_server import eventually

if TYPE_CHECKING:
    import httpx

KEYS = [f"user-{number}" for number in range(200)]
SHARES = {1: 60.0, 2: 30.0, 3: 10.0}
PROCESSES = 2


def shares(client: httpx.Client) -> dict[str, float]:
    """Percent by version, as the process that answers has them."""
    return {model["version"]: model["percent"] for model in client.get("/health").json()["models"]}


def versions(client: httpx.Client) -> dict[str, str]:
    """By key."""
    return {key: version(client, headers={"X-Routing-Key": key}) for key in KEYS}


def check_share(count: int, percent: float) -> None:
    """Within three sigma."""
    sigma = math.sqrt(len(KEYS) * percent / 100 * (1 - percent / 100))
    assert abs(count - len(KEYS) * percent / 100) <= 3 * sigma


def test_property_25_a_key_has_one_version_in_all_processes_and_after_a_restart(
    tmp_path, empty_registry
):
    model = FollowedModel.create(tmp_path, empty_registry, versions=3)
    model.registry.split(NAME, SHARES)
    seen = []
    for _ in range(2):
        with (
            model.serve("--api-processes", str(PROCESSES)) as server,
            api_clients(server, PROCESSES) as clients,
        ):
            seen += [versions(client) for client in clients]
    assert all(found == seen[0] for found in seen)
    counts = Counter(seen[0].values())
    for number, percent in SHARES.items():
        check_share(counts[str(number)], percent)


@pytest.mark.soak
def test_property_25_no_stage_of_a_ramp_takes_anybody_from_the_challenger(tmp_path, empty_registry):
    model = FollowedModel.create(tmp_path, empty_registry, versions=2)
    model.registry.ramp(NAME, 2)
    with (
        model.serve("--api-processes", str(PROCESSES), "--guardrail", "off") as server,
        api_clients(server, PROCESSES) as clients,
    ):
        moved: set[str] = set()
        for stage in STAGES:
            for client in clients:
                eventually(lambda c=client, percent=stage: shares(c).get("2") == percent)
            one, *others = [versions(client) for client in clients]
            assert all(found == one for found in others)
            now = {key for key, number in one.items() if number == "2"}
            check_share(len(now), stage)
            assert moved <= now
            moved = now
            model.registry.advance(NAME, 2, seen=stage)
    assert moved == set(KEYS)
