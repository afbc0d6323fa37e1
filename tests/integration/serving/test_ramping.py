"""A ramp through real servers: one takes the challenger to a stage, another one to the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.challengers import slow_parts
from tests.followed_model import NAME, FollowedModel, ask, events
from tests.running_server import eventually

THREADS = 4


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_ramp_goes_on_after_a_restart_until_the_challenger_is_champion(tmp_path, empty_registry):
    """Requests that name a version count as well, so that one percent need not be waited for."""
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
                return ask(client, version=str(1 + number % 2)).status_code

            def advanced(pool=pool, predict=predict) -> bool:
                assert set(pool.map(predict, range(40))) == {200}
                return model.registry.routing(NAME).shares.get(2) != stages[-1]

            eventually(advanced, seconds=250)
            stages.append(model.registry.routing(NAME).shares[2])
            assert stages[-1] == following
            eventually(lambda server=server: bool(events(server, "a challenger advances")))
    assert model.registry.routing(NAME).champion == 2
    assert [e.who for e in model.registry.history(NAME)[-3:]] == ["ramp"] * 3
