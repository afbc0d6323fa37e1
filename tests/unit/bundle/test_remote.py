from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from bundle.archive import open_bundle
from bundle.errors import (
    BundleError,
    IntegrityError,
    ManifestError,
    NotFoundError,
    RequestError,
    UnsafePathError,
)
from bundle.uri import resolve

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def remote(image_bundle):
    """The bundle on a storage that is not this machine's disk."""
    system = fsspec.filesystem("memory")
    system.put(str(image_bundle.path), "/bucket/models/digits", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


URI = "memory://bucket/models/digits"


def test_remote_bundle_is_fetched_and_verified(remote, image_bundle, tmp_path):
    resolved = resolve(URI, cache=tmp_path / "cache")

    assert open_bundle(resolved.path).manifest == image_bundle.manifest
    assert resolved.version == resolve(str(image_bundle.path)).version
    assert [path.name for path in resolved.path.parent.iterdir()] == [resolved.path.name]


def test_remote_bundle_is_not_fetched_again(remote, tmp_path):
    first = resolve(URI, cache=tmp_path)
    remote.rm("/bucket/models/digits/model.onnx")

    assert resolve(URI, cache=tmp_path) == first


def test_next_fetch_removes_what_a_killed_one_left(remote, tmp_path):
    left = tmp_path / "remote" / f".{'a' * 64}.{'0' * 16}.tmp"
    left.mkdir(parents=True)

    path = resolve(URI, cache=tmp_path).path

    assert list(left.parent.iterdir()) == [path]


def test_damaged_cache_is_fetched_again(remote, tmp_path):
    path = resolve(URI, cache=tmp_path).path
    (path / "model.onnx").write_bytes(b"damaged")

    open_bundle(resolve(URI, cache=tmp_path).path)


@pytest.mark.parametrize("content", [b"short", b"x" * 100_000])
def test_remote_file_of_another_content_is_refused(content, remote, tmp_path):
    remote.pipe("/bucket/models/digits/model.onnx", content)

    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        resolve(URI, cache=tmp_path)

    assert list((tmp_path / "remote").iterdir()) == []


def test_remote_manifest_that_leaves_the_bundle_is_refused(remote, tmp_path):
    path = "/bucket/models/digits/manifest.json"
    document = json.loads(remote.cat(path))
    document["files"]["../../evil"] = {"sha256": "0" * 64, "bytes": 1}
    remote.pipe(path, json.dumps(document).encode())

    with pytest.raises(UnsafePathError):
        resolve(URI, cache=tmp_path)

    assert not (tmp_path / "remote").exists()


def test_remote_folder_without_manifest_is_refused(remote, tmp_path):
    with pytest.raises(NotFoundError, match="is not a bundle"):
        resolve("memory://bucket/models/nothing", cache=tmp_path)


def test_unreadable_remote_manifest_is_refused(remote, tmp_path):
    remote.pipe("/bucket/models/digits/manifest.json", b"{")

    with pytest.raises(ManifestError, match=f"the bundle {URI} is refused: .*not valid JSON"):
        resolve(URI, cache=tmp_path)


def test_storage_whose_package_is_missing_is_refused_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)

    with pytest.raises(RequestError, match="not installed") as found:
        resolve("s3://bucket/model", cache=tmp_path)

    assert found.value.remedy == "pip install s3fs"


@pytest.mark.parametrize("uri", ["gopher://hole/model", "ftp://", "dbfs://x/y"])
def test_unknown_storage_and_half_an_address_are_refused(tmp_path, uri):
    with pytest.raises(RequestError, match=uri) as found:
        resolve(uri, cache=tmp_path)

    assert "s3://BUCKET/PREFIX" in (found.value.remedy or "")


@pytest.mark.parametrize(
    "error", [OSError(113, "No route to host"), TimeoutError("timed out"), KeyError("token")]
)
def test_storage_that_cannot_be_reached_is_told_with_its_address(tmp_path, monkeypatch, error):
    """Some connect as soon as they are asked for."""

    def connect(_: str) -> None:
        raise error

    monkeypatch.setattr("fsspec.core.url_to_fs", connect)

    with pytest.raises(BundleError, match=f"{URI} cannot be read: ") as found:
        resolve(URI, cache=tmp_path)

    assert "credentials" in (found.value.remedy or "")


class Refusal(Exception):  # noqa: N818 - as those of HTTP clients are
    """The answer of a web server, as HTTP clients raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), BundleError),
        (Refusal(403), BundleError),
        (Refusal(404), NotFoundError),
        (FileNotFoundError("x"), NotFoundError),
        (None, NotFoundError),
    ],
)
def test_a_server_that_is_out_of_reach_is_not_one_without_the_file(
    remote, tmp_path, monkeypatch, cause, kind
):
    def opened(*_: object, **__: object) -> None:
        raise FileNotFoundError(f"{URI}/manifest.json") from cause

    monkeypatch.setattr(type(remote), "open", opened)
    with pytest.raises(kind, match=URI) as found:
        resolve(URI, cache=tmp_path)
    monkeypatch.undo()

    assert type(found.value) is kind
    assert found.value.remedy


def test_several_threads_may_fetch_one_bundle_at_once(image_bundle, tmp_path):
    uri = image_bundle.path.as_uri()  # fsspec's memory hands all readers of a file one position
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: resolve(uri, cache=tmp_path), range(6)))

    (resolved,) = found
    open_bundle(resolved.path)
    assert [path.name for path in (tmp_path / "remote").iterdir()] == [resolved.path.name]


def test_what_is_wrong_is_told_of_the_remote_folder_and_not_of_the_cache(remote, tmp_path):
    altered = b"x" * remote.size("/bucket/models/digits/model.onnx")
    remote.pipe("/bucket/models/digits/model.onnx", altered)

    with pytest.raises(
        IntegrityError, match=f"the bundle {URI} is refused: 'model.onnx' has sha256"
    ):
        resolve(URI, cache=tmp_path)
