"""The registry on a real MLflow in sqlite."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from bundle.archive import open_bundle
from bundle.errors import (
    BundleError,
    IntegrityError,
    NotFoundError,
    RecordError,
    RegistryError,
    RequestError,
)
from bundle.model import Model
from bundle.registry import ModelRegistry, Routing, record
from bundle.registry.version import MANIFEST_SHA256
from bundle.uri import fetch_version, resolve
from tests.tiny_bundle import image_parts, pictures


@pytest.fixture
def bundle(tmp_path):
    return image_parts().write(tmp_path / "bundle")


@pytest.fixture
def registry(tracking_uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow puts the artifacts of other experiments into ./mlruns
    return ModelRegistry()


@pytest.fixture
def three(registry, bundle):
    """Versions 1 to 3 of digits, of which 1 is champion."""
    for _ in range(3):
        registry.register(bundle.path)
    return registry


def test_first_version_is_candidate_and_champion(registry, bundle):
    version = registry.register(bundle.path)

    assert (version.name, version.number) == ("digits", 1)
    assert version.aliases == ("candidate", "champion")
    assert registry.get("digits", "champion") == registry.get("digits", 1) == version


def test_later_versions_are_candidates_only(three):
    assert [version.number for version in three.versions("digits")] == [1, 2, 3]
    assert [version.aliases for version in three.versions("digits")] == [
        ("champion",),
        (),
        ("candidate",),
    ]


def test_version_may_be_registered_under_another_name(registry, bundle):
    assert registry.register(bundle.path, name="other").name == "other"
    assert [model.name for model in registry.models()] == ["other"]


def test_bundle_is_registered_once_where_it_is_not_to_be_registered_again(registry, bundle):
    """Also where two exports of it do so at the same time."""
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(ModelRegistry(registry.uri).register, bundle.path, again=False)
            for _ in range(4)
        ]
    assert {found.result().number for found in asked} == {1}
    assert registry.register(bundle.path).number == 2
    assert registry.register(bundle.path, again=False).number == 2


def test_bundle_travels_as_artifacts_of_the_run_that_is_named(registry, bundle, tracking_uri):
    client = MlflowClient(tracking_uri)
    run = client.create_run(client.create_experiment("training"))
    client.log_metric(run.info.run_id, "accuracy", 0.75)

    version = registry.register(bundle.path, run_id=run.info.run_id)

    assert version.run_id == run.info.run_id
    assert version.metadata["metrics"] == {"accuracy": 0.75}
    (folder,) = client.list_artifacts(run.info.run_id)
    assert {
        Path(item.path).name for item in client.list_artifacts(run.info.run_id, folder.path)
    } == {
        *bundle.manifest.files,
        "manifest.json",
    }


def test_artifacts_lie_beside_the_database_wherever_the_command_runs(
    registry, bundle, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    version = registry.register(bundle.path)

    assert Path(version.source).is_relative_to(tmp_path / "mlruns")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_unknown_run_is_refused(registry, bundle):
    with pytest.raises(NotFoundError, match="there is no run f00"):
        registry.register(bundle.path, run_id="f00")


def test_damaged_bundle_is_never_registered(registry, bundle):
    (bundle.path / "model.onnx").write_bytes(b"damaged")

    with pytest.raises(IntegrityError):
        registry.register(bundle.path)

    assert registry.models() == []


@pytest.mark.parametrize("name", ["a/b", "a:b", " "])
def test_name_that_a_registry_cannot_carry_is_refused(name, registry, bundle):
    with pytest.raises(RequestError, match="cannot name a model"):
        registry.register(bundle.path, name=name)


def test_promotion_moves_the_champion_and_all_traffic(three):
    three.split("digits", {1: 50, 2: 50})

    event = three.promote("digits", 3)

    assert event.before == Routing(champion=1, split={1: 50.0, 2: 50.0})
    assert event.after == three.routing("digits") == Routing(champion=3)
    assert three.get("digits", "champion").number == 3


def test_split_is_kept_and_the_champion_stays(three):
    three.split("digits", {1: 90, 3: 10})

    assert three.routing("digits") == Routing(champion=1, split={1: 90.0, 3: 10.0})
    assert three.model("digits").to_dict()["split"] == {"1": 90.0, "3": 10.0}


def test_rollback_returns_to_the_previous_champion(three):
    three.promote("digits", 2)
    three.promote("digits", 3)

    assert three.rollback("digits").after == Routing(champion=2)
    assert three.rollback("digits").after == Routing(champion=1)
    with pytest.raises(RequestError, match="no earlier champion"):
        three.rollback("digits")
    assert three.get("digits", "champion").number == 1


def test_rollback_passes_over_a_deleted_version(three, tracking_uri):
    three.promote("digits", 2)
    three.promote("digits", 3)
    MlflowClient(tracking_uri).delete_model_version("digits", "2")

    assert three.rollback("digits").after == Routing(champion=1)


def test_history_tells_who_changed_what_and_when(three):
    three.split("digits", {1: 90, 2: 10})
    three.rollback("digits")

    events = three.history("digits")

    assert [event.action for event in events] == [*["register"] * 3, "split", "rollback"]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert all("@" in event.who for event in events)
    assert events[0].before == Routing()
    assert events[0].after == events[-1].after == Routing(champion=1)


def test_history_is_bounded(three, monkeypatch):
    monkeypatch.setattr(record, "MAX_EVENTS", 5)
    for number in (2, 3, 2, 3):
        three.promote("digits", number)

    events = three.history("digits")

    assert len(events) == 5
    assert events[-1].after == Routing(champion=3)
    assert three.rollback("digits").after == Routing(champion=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda registry, **options: registry.promote("digits", 2, **options),
        lambda registry, **options: registry.split("digits", {1: 90, 2: 10}, **options),
        lambda registry, **options: registry.rollback("digits", **options),
    ],
)
def test_rehearsal_tells_what_would_change_and_changes_nothing(change, three):
    three.promote("digits", 3)
    before = (three.model("digits"), three.history("digits"))

    rehearsed = change(three, dry_run=True)

    assert (three.model("digits"), three.history("digits")) == before
    done = change(three)
    assert (done.action, done.before, done.after) == (
        rehearsed.action,
        rehearsed.before,
        rehearsed.after,
    )


def test_promoting_the_champion_again_leaves_no_event(three):
    before = three.history("digits")

    event = three.promote("digits", 1)

    assert event.before == event.after
    assert three.history("digits") == before


MISSING = [
    (lambda registry: registry.get("digits", 9), "no version 9"),
    (lambda registry: registry.get("digits", "best"), "no alias 'best'"),
    (lambda registry: registry.get("cats", 1), "no model 'cats'"),
    (lambda registry: registry.get("cats", "champion"), "no model 'cats'"),
    (lambda registry: registry.model("cats"), "no model 'cats'"),
    (lambda registry: registry.routing("cats"), "no model 'cats'"),
    (lambda registry: registry.versions("cats"), "no model 'cats'"),
    (lambda registry: registry.history("cats"), "no model 'cats'"),
    (lambda registry: registry.promote("digits", 9), "no version 9"),
    (lambda registry: registry.promote("cats", 1), "no model 'cats'"),
    (lambda registry: registry.split("digits", {1: 50, 9: 50}), "no version 9"),
    (lambda registry: registry.split("digits", {1: 100, 9: 0}), "no version 9"),
    (lambda registry: registry.split("cats", {1: 100}), "no model 'cats'"),
    (lambda registry: registry.versions(""), "no model ''"),
    (lambda registry: registry.history("\ud800"), r"no model '\\ud800'"),
    (lambda registry: registry.promote("\udcff", 1), r"no model '\\udcff'"),
    (lambda registry: registry.get("", "champion"), "no model ''"),
    (lambda registry: registry.rollback("cats"), "no model 'cats'"),
    (lambda registry: registry.download("digits", 9, "x"), "no version 9"),
]


def test_what_does_not_exist_is_named(three):
    before = (three.model("digits"), three.history("digits"))

    for ask, message in MISSING:
        with pytest.raises(NotFoundError, match=message):
            ask(three)

    assert (three.model("digits"), three.history("digits")) == before


def test_shares_that_do_not_sum_to_100_change_nothing(three):
    with pytest.raises(RequestError, match="sum to 90"):
        three.split("digits", {1: 80, 2: 10})

    assert three.routing("digits") == Routing(champion=1)


def test_split_that_someone_else_wrote_is_an_error_with_a_remedy(three, tracking_uri):
    MlflowClient(tracking_uri).set_registered_model_tag("digits", "trainyard.split", "half")

    with pytest.raises(RecordError, match="unreadable split 'half'") as found:
        three.routing("digits")

    assert "trainyard.split" in found.value.remedy


def test_download_is_the_bundle_that_was_registered(three, bundle, tmp_path):
    path = three.download("digits", 2, tmp_path / "there" / "two")

    assert open_bundle(path).manifest == bundle.manifest
    assert three.download("digits", 2, path) == path  # again: what is there is verified and kept
    assert [item.name for item in path.parent.iterdir()] == ["two"]


def test_download_refuses_another_bundle_in_its_place(three, tmp_path):
    image_parts(seed=5).write(tmp_path / "other")

    with pytest.raises(IntegrityError, match="than was registered"):
        three.download("digits", 1, tmp_path / "other")


@pytest.mark.parametrize("spoil", ["model.onnx", "manifest.json", "extra", "whole"])
def test_download_of_damaged_artifacts_leaves_nothing(spoil, three, tmp_path):
    source = Path(three.get("digits", 1).source)
    if spoil == "whole":  # a bundle that verifies, but is not the one that was registered
        shutil.rmtree(source)
        image_parts(seed=7).write(source)
    else:
        (source / spoil).write_bytes(b"damaged")

    with pytest.raises(BundleError) as found:
        three.download("digits", 1, tmp_path / "there" / "one")

    assert str(source) in str(found.value)
    assert "there" not in str(found.value)
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "reason"), [("link", "model.onnx: Invalid path"), ("gone", "No such artifact")]
)
def test_download_that_fails_tells_of_the_bundle_and_not_of_the_registry(
    spoil, reason, three, tmp_path
):
    source = Path(three.get("digits", 1).source)
    if spoil == "link":
        (source / "model.onnx").rename(tmp_path / "elsewhere.onnx")
        (source / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    else:
        shutil.rmtree(source)

    with pytest.raises(RegistryError) as found:
        three.download("digits", 1, tmp_path / "there")

    message = str(found.value)
    assert message.startswith(f"the bundle {source} cannot be fetched: ")
    assert reason in message
    assert not any(part in message for part in (three.uri, "failures", "#"))
    assert not (tmp_path / "there").exists()


def test_version_of_other_means_is_listed_but_not_downloaded(three, tracking_uri, tmp_path):
    client = MlflowClient(tracking_uri)
    client.create_model_version("digits", str(tmp_path), await_creation_for=0)

    assert three.versions("digits")[-1].manifest_sha256 is None
    with pytest.raises(RegistryError, match="registered by other means"):
        three.download("digits", 4, tmp_path / "there")


def test_uri_of_alias_or_number_is_fetched_once_and_verified(three, bundle, tmp_path):
    by_number = resolve("models:/digits/1", cache=tmp_path / "cache")
    by_alias = resolve("models:/digits@champion", cache=tmp_path / "cache")

    assert by_number == by_alias
    assert (by_number.name, by_number.version) == ("digits", "1")
    assert by_number.path.is_relative_to(tmp_path / "cache" / "models" / "digits" / "1")
    assert open_bundle(by_number.path).manifest == bundle.manifest
    assert resolve("pets=models:/digits/1", cache=tmp_path / "cache").name == "pets"


@pytest.mark.parametrize("spelling", ["{folder}", "../../../../{folder.name}", "unknown", ""])
def test_version_whose_hash_is_none_is_refused_and_no_folder_is_removed(
    spelling, three, tracking_uri, tmp_path
):
    cache, folder = tmp_path / "cache", tmp_path / "theirs"
    resolve("models:/digits/1", cache=cache)  # so that "1/.." is there
    folder.mkdir()
    (folder / "a.txt").write_text("kept")
    tag = spelling.format(folder=folder)
    MlflowClient(tracking_uri).set_model_version_tag("digits", "1", MANIFEST_SHA256, tag)

    with pytest.raises(RegistryError, match="version 1 of 'digits' is not a bundle"):
        resolve("models:/digits/1", cache=cache)
    with pytest.raises(RegistryError, match="version 1 of 'digits' is not a bundle"):
        three.download("digits", 1, tmp_path / "there")
    with pytest.raises(RegistryError, match="version 1 of 'digits' is not a bundle"):
        fetch_version(three, "digits", 1, cache=cache)

    assert (folder / "a.txt").read_text() == "kept"


def test_damaged_cache_is_fetched_again(three, tmp_path):
    path = resolve("models:/digits/1", cache=tmp_path).path
    (path / "model.onnx").write_bytes(b"damaged")

    open_bundle(resolve("models:/digits/1", cache=tmp_path).path)


def test_uri_of_an_unknown_version_is_refused(three, tmp_path):
    with pytest.raises(NotFoundError, match="no alias 'best'"):
        resolve("models:/digits@best", cache=tmp_path)


def test_model_is_loaded_by_its_alias(three, tmp_path):
    model = Model.load("models:/digits@champion", provider="cpu", cache=tmp_path)

    assert (model.name, model.version) == ("digits", "1")
    assert model.predict({"image": pictures(1)[0]})["prediction"]["label"]


def test_refused_variants_are_in_the_metadata(registry, tmp_path):
    from bundle.manifest import GateResult, Variant

    parts = image_parts()
    refused = Variant(name="int8", file=None, gate=GateResult(reason="3 points lost"))
    manifest = replace(parts.manifest, variants=(*parts.manifest.variants, refused))
    bundle = replace(parts, manifest=manifest).write(tmp_path / "refused")

    facts = registry.register(bundle.path).metadata

    assert facts["variant.int8"]["gate"]["reason"] == "3 points lost"


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.models(),
        lambda registry: registry.versions("digits"),
        lambda registry: registry.promote("digits", 1),
        lambda registry: registry.rollback("digits"),
    ],
)
def test_asking_never_creates_a_registry(ask, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RegistryError, match=r"no registry at sqlite:///mlflow\.db yet") as found:
        ask(ModelRegistry())

    assert "register" in found.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9/", "cannot be reached"),
        ("postgresql://me:secret@127.0.0.1:9/mlflow", "cannot be reached"),
        ("gopher://hole", "failed"),
        ("sqlite:////no/such/folder/mlflow.db", "no registry at"),
    ],
)
def test_registry_that_cannot_be_reached_is_one_clear_line(uri, message):
    with pytest.raises(RegistryError, match=message) as found:
        ModelRegistry(uri).models()

    assert "\n" not in str(found.value)
    assert "secret" not in str(found.value)


def test_file_that_is_no_database_is_refused_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_text("hello")

    with pytest.raises(RegistryError, match="not a sqlite database"):
        ModelRegistry(f"sqlite:///{tmp_path}/mlflow.db").models()


def test_registering_into_a_missing_folder_is_refused_at_once(bundle, tmp_path):
    with pytest.raises(RegistryError, match="folder of the registry"):
        ModelRegistry(f"sqlite:///{tmp_path}/gone/mlflow.db").register(bundle.path)


def test_what_lies_on_another_machine_is_not_waited_for_to_warm_up():
    ModelRegistry("http://192.0.2.1:1").warm_up()
