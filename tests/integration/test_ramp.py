"""A ramp in a real registry: stage after stage, whoever advances it, until others interfere."""

from __future__ import annotations

import pytest
from mlflow.tracking import MlflowClient

from bundle.errors import ConflictError, NotFoundError, RegistryError, RequestError
from bundle.registry import ModelRegistry, Routing, Share
from bundle.registry.ramp import STAGES, next_stage
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


def test_stages_rise_to_all_of_the_traffic():
    assert next_stage(0.0) == STAGES[0]
    assert [next_stage(stage) for stage in STAGES] == [*STAGES[1:], None]


def test_a_ramp_goes_through_its_stages_and_ends_with_the_promotion(registry):
    registry.ramp("digits", 2, who="key:boss")
    shares = [share(registry)]
    while ModelRegistry().advance("digits", 2, seen=share(registry), who="ramp"):
        shares.append(share(registry))
    assert shares == [1, 5, 25, 100]
    assert registry.routing("digits") == Routing(champion=2)
    last = registry.history("digits")[-4:]
    assert [event.who for event in last] == ["key:boss", "ramp", "ramp", "ramp"]
    assert [event.action for event in last] == ["ramp", "ramp", "ramp", "promote"]


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_rollback_undoes_the_whole_ramp(registry, stages):
    registry.ramp("digits", 2)
    for _ in range(stages - 1):
        registry.advance("digits", 2, seen=share(registry), who="ramp")
    assert registry.rollback("digits").after == Routing(champion=1)
    with pytest.raises(RequestError, match="no earlier champion"):
        registry.rollback("digits")


def test_a_rollback_is_refused_where_the_guardrail_was_first(registry):
    registry.promote("digits", 2)
    registry.ramp("digits", 1)
    event = registry.withdraw("digits", 1, who="guardrail")
    assert event.action == "withdraw"
    with pytest.raises(ConflictError, match="already withdrew version 1") as found:
        registry.rollback("digits", dry_run=True)
    assert found.value.remedy == "promote a version to go back further"
    assert registry.routing("digits") == Routing(champion=2)


def test_whoever_looks_during_the_promotion_finds_all_of_the_traffic_at_the_challenger(
    registry, monkeypatch
):
    registry.split("digits", {1: 75, 2: 25})
    seen = []
    for name in (
        "set_registered_model_alias",
        "set_registered_model_tag",
        "delete_registered_model_tag",
    ):
        write = getattr(MlflowClient, name)

        def write_and_look(client, *arguments, write=write):
            write(client, *arguments)
            seen.append(registry.routing("digits").shares)

        monkeypatch.setattr(MlflowClient, name, write_and_look)
    registry.promote("digits", 2)
    announced, *changed = seen
    assert announced == {1: 75.0, 2: 25.0}
    assert len(changed) >= 3
    assert all(shares == {2: 100.0} for shares in changed)


def test_of_two_servers_that_saw_the_same_stage_one_advances_it(registry):
    registry.ramp("digits", 2)
    assert registry.advance("digits", 2, seen=1.0) is not None
    assert registry.advance("digits", 2, seen=1.0) is None
    assert share(registry) == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.split("digits", {1: 99, 2: 1}),
        lambda registry: registry.withdraw("digits", 2),
        lambda registry: registry.promote("digits", 1),
        lambda registry: registry.rollback("digits"),
    ],
    ids=["split", "withdraw", "promote", "rollback"],
)
def test_a_ramp_ends_when_the_traffic_is_changed(registry, change):
    registry.ramp("digits", 2)
    change(registry)
    before = registry.routing("digits")
    assert before.ramp is None
    assert registry.advance("digits", 2, seen=1.0) is None
    assert registry.routing("digits") == before


def test_a_ramp_ends_when_its_split_is_changed_behind_its_back(registry, tracking_uri):
    from mlflow.tracking import MlflowClient

    registry.ramp("digits", 2)
    client = MlflowClient(tracking_uri)
    client.set_registered_model_tag("digits", "trainyard.split", '{"1": 50, "2": 50}')
    assert registry.routing("digits").ramp is None
    client.set_registered_model_tag("digits", "trainyard.ramp", "soon")
    with pytest.raises(RegistryError, match="unreadable ramp"):
        registry.routing("digits")


def test_a_rehearsal_and_a_wrong_request_begin_nothing(registry):
    registry.ramp("digits", 2, dry_run=True)
    with pytest.raises(RequestError, match="no other champion"):
        registry.ramp("digits", 1)
    with pytest.raises(NotFoundError):
        registry.ramp("digits", 9)
    assert registry.routing("digits") == Routing(champion=1)


@pytest.mark.parametrize("number", [2, 3])
def test_a_ramp_that_goes_on_is_not_begun_again(registry, tmp_path, number):
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.ramp("digits", 2)
    registry.advance("digits", 2, seen=1.0)
    before = registry.routing("digits")
    with pytest.raises(ConflictError, match="to version 2 is under way, with 5 percent") as caught:
        registry.ramp("digits", number)
    assert (caught.value.field, registry.routing("digits")) == ("version", before)


def test_a_ramp_is_between_two_versions(registry, tmp_path):
    """The users of a third one would be moved."""
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.split("digits", {1: 80, 2: 10, 3: 10})
    for number, other in ((2, 3), (3, 2)):
        with pytest.raises(RequestError, match=f"version {other} of 'digits' has traffic too"):
            registry.ramp("digits", number)
    assert registry.routing("digits").ramp is None


@pytest.mark.parametrize(("percent", "then"), [(0.5, 5), (10.07, 25), (25, 100), (99.99, 100)])
def test_a_ramp_moves_nobody_back_who_has_the_version_already(registry, percent, then):
    registry.split("digits", {1: 100 - percent, 2: percent})
    assert registry.ramp("digits", 2).after.shares[2] == max(1, percent)
    assert sum(registry.routing("digits").shares.values()) == 100
    registry.advance("digits", 2, seen=share(registry), who="ramp")
    assert share(registry) == then
    assert registry.rollback("digits").after.shares[2] == percent


def test_a_ramp_needs_a_champion_with_traffic_to_be_compared_with(registry):
    registry.split("digits", {2: 100})
    for number in (1, 2):
        with pytest.raises(RequestError, match=r"no other champion|has no traffic"):
            registry.ramp("digits", number)
    assert registry.routing("digits") == Routing(champion=1, split={2: 100.0})


def test_a_withdrawn_version_leaves_its_share_to_the_champion(registry, tmp_path):
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.split("digits", {1: 50, 2: 30, 3: 20})
    registry.withdraw("digits", 2, who="guardrail")
    assert registry.routing("digits") == Routing(champion=1, split={1: 80.0, 3: 20.0})
    registry.withdraw("digits", 3)
    assert registry.routing("digits") == Routing(champion=1)
    assert registry.withdraw("digits", 3) is None
    assert registry.withdraw("digits", 1) is None


def test_without_the_champion_a_withdrawn_version_leaves_its_share_to_the_lowest_number(
    registry, tmp_path
):
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.split("digits", {2: 50, 3: 50})
    assert registry.withdraw("digits", 2) is None
    registry.withdraw("digits", 3)
    assert registry.routing("digits") == Routing(champion=1, split={2: 100.0})


def test_a_shadow_stays_whoever_answers_until_it_answers_itself(registry, tmp_path):
    registry.register(image_parts(seed=3).write(tmp_path / "third").path)
    registry.shadow("digits", 3, percent=10)
    shadow = Share(number=3, percent=10.0)
    registry.split("digits", {1: 50, 2: 50})
    registry.promote("digits", 2)
    assert registry.routing("digits") == Routing(champion=2, shadow=shadow)
    registry.rollback("digits")
    assert registry.routing("digits").split == {1: 50.0, 2: 50.0}
    assert registry.routing("digits").shadow == shadow
    registry.promote("digits", 3)
    assert registry.routing("digits") == Routing(champion=3)


def test_a_rollback_takes_back_traffic_and_no_shadow(registry):
    registry.promote("digits", 2)
    registry.shadow("digits", 1)
    registry.shadow("digits", None)
    registry.shadow("digits", 1, percent=5)
    assert [event.action for event in registry.history("digits")[-3:]] == ["shadow"] * 3
    registry.rollback("digits")
    assert registry.routing("digits") == Routing(champion=1)
