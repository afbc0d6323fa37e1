"""/health answers at once while versions that take long to load are fetched, loaded and taken.

One API process, so that nobody answers in its place. The machine has to be quiet.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.followed_model import NAME, FollowedModel
from tests.health_probe import health_probe
from tests.large_bundles import of_many_labels, of_many_weights, of_many_words
from tests.running_server import eventually

LONGEST = 0.1
"""Seconds that any answer may take."""
QUIET = 3.0
"""Seconds for which nothing is loaded, to compare with."""

VERSIONS = {
    "100 MiB of weights": lambda n: of_many_weights(mebibytes=100, seed=n),
    "20,000 labels": lambda n: of_many_labels(labels=20_000, seed=n),
    "30,000 new words": lambda n: of_many_words(words=30_000, vocabulary=n, seed=n),
    "250,000 words, the same": lambda n: of_many_words(words=250_000, vocabulary=0, seed=n),
}


def told(seconds: list[float]) -> str:
    median, high, most = np.percentile(np.array(seconds) * 1000, [50, 99, 100])
    return f"50 % {median:.1f}, 99 % {high:.1f}, most {most:.1f} ms of {len(seconds)}"


@pytest.mark.soak
@pytest.mark.parametrize("parts", VERSIONS.values(), ids=VERSIONS.keys())
def test_health_answers_at_once_while_a_version_is_loaded(tmp_path, empty_registry, parts):
    model = FollowedModel.create(tmp_path, empty_registry, versions=0)
    numbers = [model.register(parts(number)) for number in range(1, 5)]
    loading: list[tuple[float, float]] = []
    with (
        model.serve("--api-processes", "1", "--poll-seconds", "0.2") as server,
        server.client() as client,
    ):
        time.sleep(1.0)
        with health_probe(server.url) as probes:
            began = time.monotonic()
            time.sleep(QUIET)
            for number in numbers[1:]:
                promoted = time.monotonic()
                model.registry.promote(NAME, number)
                eventually(lambda n=str(number): champion(client) == n, seconds=100)
                time.sleep(0.5)  # in which the one before leaves
                loading.append((promoted, time.monotonic()))
    quiet = [s for due, s in probes if due < began + QUIET]
    while_loading = [s for due, s in probes if any(first <= due <= last for first, last in loading)]
    print(f"nothing loads: {told(quiet)}")
    print(f"while {sum(last - first for first, last in loading):.1f} s of loading: ", end="")
    print(told(while_loading))
    assert max(while_loading) <= LONGEST


def champion(client) -> str:
    models = client.get("/health").json()["models"]
    return next(m["version"] for m in models if m["percent"] == 100)
