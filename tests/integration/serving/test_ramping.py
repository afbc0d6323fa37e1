"""A ramp through real servers: one takes the challenger to a stage, another one to the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

from serving.routing.split import BUCKETS, bucket
from tests.challengers import slow_parts
from tests.followed_model import NAME, FollowedModel, ask, events
from tests.running_server import eventually

THREADS = 4
FIRST, LAST = range(100), range(7500, BUCKETS)
"""Buckets that have the challenger from the first stage on, and those that have it in the end."""


ROUND = 40


def keys(buckets: range) -> list[str]:
    found = (key for key in map(str, count()) if bucket(NAME, key) in buckets)
    return list(islice(found, ROUND // 2))


KEYS = keys(FIRST) + keys(LAST)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_ramp_goes_on_after_a_restart_until_the_challenger_is_champion(tmp_path, empty_registry):
    """Half of the keys are among the first percent, so that these need not be waited for."""
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    for _ in range(2):
        model.register(slow_parts(20))
    model.registry.ramp(NAME, 2)
    stages = [1.0]
    for following in (5.0, 25.0, 100.0):
        with (
            model.serve("--api-processes", "1", "--batch-size", "1") as server,
            server.client() as client,
            ThreadPoolExecutor(THREADS) as pool,
        ):

            def predict(number: int, client=client) -> int:
                return ask(client, key=KEYS[number]).status_code

            def advanced(pool=pool, predict=predict) -> bool:
                assert set(pool.map(predict, range(ROUND))) == {200}
                return model.registry.routing(NAME).shares.get(2) != stages[-1]

            eventually(advanced, seconds=250)
            stages.append(model.registry.routing(NAME).shares[2])
            assert stages[-1] == following
            eventually(lambda server=server: bool(events(server, "a challenger advances")))
    assert model.registry.routing(NAME).champion == 2
    assert [e.who for e in model.registry.history(NAME)[-3:]] == ["ramp"] * 3
