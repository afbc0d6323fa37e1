from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle.archive import sha256_file
from bundle.errors import NotFoundError, RequestError
from bundle.publish import staging
from bundle.uri import default_cache, fetch_version, registered, resolve
from tests.tiny_bundle import tensor_model


def test_folder_is_found_with_the_hash_of_its_manifest_as_version(image_bundle):
    resolved = resolve(str(image_bundle.path))

    assert resolved.name is None
    assert resolved.path == image_bundle.path
    assert not resolved.bare
    assert sha256_file(image_bundle.path / "manifest.json").startswith(resolved.version)
    assert len(resolved.version) == 12


def test_bare_file_is_found_with_its_own_hash_as_version(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model())

    resolved = resolve(str(tmp_path / "m.onnx"))

    assert resolved.bare
    assert resolved.path == tmp_path / "m.onnx"
    assert sha256_file(tmp_path / "m.onnx").startswith(resolved.version)


def test_name_in_front_of_the_uri_is_taken(image_bundle):
    resolved = resolve(f"pets={image_bundle.path}")

    assert resolved.name == "pets"
    assert resolved.path == image_bundle.path


def test_folder_with_an_equals_sign_is_a_folder(image_bundle, monkeypatch):
    monkeypatch.chdir(image_bundle.path.parent)
    image_bundle.path.rename("lr=0.1")

    assert resolve("lr=0.1").name is None
    assert resolve("pets=lr=0.1").name == "pets"
    assert resolve(str(Path("lr=0.1").resolve())).name is None


def test_home_folder_is_understood(image_bundle, monkeypatch):
    monkeypatch.setenv("HOME", str(image_bundle.path.parent))

    assert resolve(f"~/{image_bundle.path.name}").path == image_bundle.path


@pytest.mark.parametrize("uri", ["nothing", "pets=nothing", "/no/such/folder", ""])
def test_missing_model_is_refused_with_what_could_be_given(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotFoundError) as found:
        resolve(uri)

    assert found.value.field == "model"


def test_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match=r"no manifest\.json"):
        resolve(str(tmp_path))


def test_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")

    with pytest.raises(RequestError, match="neither a bundle folder nor"):
        resolve(str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "/",
        "/m/",
        "/m/latest",
        "/m/1/x",
        "/m@",
        "/@a",
        "/m/0",
        "/m/00",
        "/m/\u0663",
        f"/m/{'9' * 5000}",
    ],
)
def test_registry_uri_without_version_is_refused_with_how_to_write_it(rest):
    with pytest.raises(RequestError, match="does not name a version") as found:
        resolve(f"models:{rest}")

    assert found.value.remedy == "write models:/NAME, models:/NAME@ALIAS or models:/NAME/NUMBER"


def test_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TRAINYARD_CACHE", raising=False)
    assert default_cache() == Path("/home/me/.cache/trainyard")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert default_cache() == Path("/fast/trainyard")
    monkeypatch.setenv("TRAINYARD_CACHE", "/models")
    assert default_cache() == Path("/models")


class Registry:
    """Each version has a hash of its own; what is fetched is an empty folder."""

    def get(self, name: str, number: int) -> SimpleNamespace:
        return SimpleNamespace(bundle_sha256=lambda: f"{number:064x}")

    def download(self, name: str, number: int, folder: Path) -> Path:
        folder.mkdir(parents=True)
        return folder


def test_next_fetch_of_a_model_removes_what_killed_ones_left_of_any_version(tmp_path):
    model = tmp_path / "models" / "digits"
    left = [model / str(number) / f".{number:064x}.{'0' * 16}.tmp" for number in (1, 2)]
    theirs = [model / "1" / "kept.tmp", tmp_path / "models" / "other" / "1" / left[0].name]
    for folder in (*left, *theirs):
        (folder / "bundle").mkdir(parents=True)

    with staging(model / "1" / f"{1:064x}") as living:
        path = fetch_version(Registry(), "digits", 2, cache=tmp_path).path
        assert living.exists()

    assert path.exists()
    assert not any(folder.exists() for folder in left)
    assert all(folder.exists() for folder in theirs)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("models:/digits/02", "'02' is not the number of one"),
        ("models:/digits/2.0", "'2.0' is not the number of one"),
        ("models:/digits/ 2", "' 2' is not the number of one"),
        ("models:/digits@02", "'02' is no alias"),
        ("models:/digits@v2", "'v2' is no alias"),
        ("models:/digits@latest", "'latest' is no alias"),
        ("models:/digits/" + "9" * 5_000, "…' is not the number of one"),
        ("models:/" + "d" * 5_000 + "/02", "'02' is not the number of one"),
    ],
)
def test_what_is_only_like_a_number_or_an_alias_names_no_version(uri, why):
    with pytest.raises(RequestError, match="does not name a version in the registry: ") as found:
        registered(uri)
    assert why in str(found.value)
    assert found.value.field == "model"
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("uri", ["x" * 5_000, "name=" + "x" * 5_000])
def test_what_no_file_system_takes_as_a_path_is_a_wrong_request(uri):
    with pytest.raises(RequestError, match="cannot be a path: ") as found:
        resolve(uri)
    assert found.value.field == "model"
    assert len(str(found.value)) < 300
