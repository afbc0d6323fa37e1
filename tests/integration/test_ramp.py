"""A ramp on a real registry: one stage after the other, and an end when others interfere."""

from __future__ import annotations

import pytest

from bundle.errors import NotFoundError, RequestError
from bundle.registry import ModelRegistry, Routing
from serving.routing.ramp import Ramps
from tests.tiny_bundle import image_parts


@pytest.fixture
def registry(tracking_uri, tmp_path):
    """Two versions of digits, the first one champion."""
    registry = ModelRegistry()
    bundle = image_parts().write(tmp_path / "bundle")
    for _ in range(2):
        registry.register(bundle.path)
    return registry


def share(registry) -> float:
    return registry.routing("digits").shares.get(2, 0.0)


def test_a_ramp_goes_through_its_stages_and_ends_with_the_promotion(registry):
    ramps = Ramps(registry)
    ramps.begin("digits", 2, dry_run=False, who="key:boss")
    shares = [share(registry)]
    while ramps.advance("digits", 2):
        shares.append(share(registry))
    assert shares == [1, 5, 25, 100]
    assert registry.routing("digits") == Routing(champion=2)
    assert [event.who for event in registry.history("digits")[-4:]] == [
        "key:boss", "ramp", "ramp", "ramp"
    ]  # fmt: skip


def test_a_ramp_ends_when_somebody_else_changes_the_split(registry):
    ramps = Ramps(registry)
    ramps.begin("digits", 2, dry_run=False, who="key:boss")
    registry.split("digits", {1: 50, 2: 50})
    assert not ramps.advance("digits", 2)
    registry.split("digits", {1: 99, 2: 1})
    assert not ramps.advance("digits", 2)
    assert share(registry) == 1


def test_a_rehearsal_and_a_wrong_request_begin_nothing(registry):
    ramps = Ramps(registry)
    ramps.begin("digits", 2, dry_run=True, who="key:boss")
    with pytest.raises(RequestError, match="no other champion"):
        ramps.begin("digits", 1, dry_run=False, who="key:boss")
    with pytest.raises(NotFoundError):
        ramps.begin("digits", 9, dry_run=False, who="key:boss")
    assert not ramps.advance("digits", 2)
    assert registry.routing("digits") == Routing(champion=1)


def test_a_withdrawn_version_leaves_its_share_to_the_champion(registry, tmp_path):
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.split("digits", {1: 50, 2: 30, 3: 20})
    registry.withdraw("digits", 2, who="guardrail")
    assert registry.routing("digits") == Routing(champion=1, split={1: 80.0, 3: 20.0})
    registry.withdraw("digits", 3)
    assert registry.routing("digits") == Routing(champion=1)
    assert registry.withdraw("digits", 3) is None
    assert registry.withdraw("digits", 1) is None
