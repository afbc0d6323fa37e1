from __future__ import annotations

import hashlib
import json
import os
import socket

import pytest

from bundle import archive
from bundle.archive import open_bundle, sha256_file
from bundle.errors import (
    BundleError,
    IntegrityError,
    ManifestError,
    NotFoundError,
    UnsafePathError,
)


def edit_manifest(bundle, change):
    path = bundle.path / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)

    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_open_finds_nothing_where_there_is_no_folder(tmp_path):
    with pytest.raises(NotFoundError, match="no bundle folder"):
        open_bundle(tmp_path / "nothing")


def test_open_says_so_when_the_folder_has_no_manifest(tmp_path):
    with pytest.raises(ManifestError, match=r"has no manifest\.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}', b"[" * 10**6]
)
def test_open_says_so_when_the_manifest_is_unreadable(data, image_bundle):
    (image_bundle.path / "manifest.json").write_bytes(data)

    with pytest.raises(ManifestError):
        open_bundle(image_bundle.path)


def test_open_does_not_read_an_oversize_manifest(image_bundle):
    with (image_bundle.path / "manifest.json").open("r+b") as file:
        file.truncate(archive.MAX_MANIFEST_BYTES + 1)

    with pytest.raises(ManifestError, match="at most"):
        open_bundle(image_bundle.path)


def test_open_finds_a_flipped_bit_in_any_file(image_bundle):
    for name in image_bundle.manifest.files:
        path = image_bundle.path / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

        with pytest.raises(IntegrityError, match="sha256") as found:
            open_bundle(image_bundle.path)

        assert found.value.field == name
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    open_bundle(image_bundle.path)


def test_open_compares_every_size_before_it_hashes_a_byte(image_bundle, monkeypatch):
    with (image_bundle.path / "model.onnx").open("ab") as file:
        file.truncate(2**40)  # a hole: a terabyte that takes no room, but hours to hash
    monkeypatch.setattr(archive, "sha256_file", lambda path: pytest.fail(f"hashed {path}"))

    with pytest.raises(IntegrityError, match="bytes, the manifest says"):
        open_bundle(image_bundle.path)


def test_open_finds_a_missing_file(image_bundle):
    (image_bundle.path / "golden.npz").unlink()

    with pytest.raises(IntegrityError, match=r"'golden\.npz' is missing"):
        open_bundle(image_bundle.path)


@pytest.mark.parametrize("name", ["extra.bin", ".hidden", "model.onnx.data"])
def test_open_refuses_a_stray_file(name, image_bundle):
    (image_bundle.path / name).write_text("stray")

    with pytest.raises(IntegrityError, match="stray file"):
        open_bundle(image_bundle.path)


def test_open_refuses_a_stray_folder(image_bundle):
    (image_bundle.path / "empty").mkdir()

    with pytest.raises(IntegrityError, match="stray folder"):
        open_bundle(image_bundle.path)


def test_open_refuses_a_file_that_is_a_link(image_bundle, tmp_path):
    model = image_bundle.path / "model.onnx"
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")

    with pytest.raises(UnsafePathError, match=r"'model\.onnx' is a link"):
        open_bundle(image_bundle.path)


def test_open_refuses_a_manifest_that_is_a_link(image_bundle, tmp_path):
    manifest = image_bundle.path / "manifest.json"
    manifest.rename(tmp_path / "manifest.json")
    manifest.symlink_to(tmp_path / "manifest.json")

    with pytest.raises(UnsafePathError, match=r"'manifest\.json' is a link"):
        open_bundle(image_bundle.path)


def test_open_refuses_a_folder_that_is_a_link(image_bundle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (image_bundle.path / "docs").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafePathError, match="'docs' is a link"):
        open_bundle(image_bundle.path)


def test_open_refuses_a_hard_linked_file(image_bundle, tmp_path):
    os.link(image_bundle.path / "model.onnx", tmp_path / "back door")

    with pytest.raises(UnsafePathError, match="hard-linked"):
        open_bundle(image_bundle.path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, make_socket])
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_open_refuses_what_is_no_plain_file(name, make, image_bundle, monkeypatch):
    monkeypatch.chdir(image_bundle.path)  # a socket's path has few characters
    (image_bundle.path / name).unlink()
    make(name)

    with pytest.raises(UnsafePathError, match="not a plain file"):
        open_bundle(image_bundle.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device files")
def test_open_refuses_a_device_file(image_bundle):
    path = image_bundle.path / "model.onnx"
    path.unlink()
    try:
        os.mknod(path, 0o20644, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("this container may not make device files")

    with pytest.raises(UnsafePathError, match="not a plain file"):
        open_bundle(image_bundle.path)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "..\\outside.bin", "a/../b"])
def test_open_refuses_a_manifest_that_names_files_outside(name, image_bundle):
    (image_bundle.path.parent / "outside.bin").write_text("secret")

    def add(document):
        document["files"][name] = {"sha256": "0" * 64, "bytes": 6}

    edit_manifest(image_bundle, add)

    with pytest.raises(UnsafePathError, match=r"manifest\.json"):
        open_bundle(image_bundle.path)


def test_open_follows_a_link_to_the_bundle_itself(image_bundle, tmp_path):
    (tmp_path / "current").symlink_to(image_bundle.path)

    assert open_bundle(tmp_path / "current") == image_bundle


def test_bundle_gives_only_files_of_its_manifest(image_bundle):
    with pytest.raises(NotFoundError, match="no file"):
        image_bundle.file("../secret")


def test_every_refusal_of_open_is_an_error_of_the_bundle_with_one_line(image_bundle):
    (image_bundle.path / "extra\nline").write_text("")

    with pytest.raises(BundleError) as found:
        open_bundle(image_bundle.path)

    assert "\n" not in str(found.value)
