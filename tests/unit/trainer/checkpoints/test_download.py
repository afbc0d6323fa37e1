"""Checkpoints from a real HTTP server: nothing is read that was not asked for."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from tests.unit.trainer.checkpoints.test_checkpoint_files import Malicious, state
from trainer.checkpoints.checkpoint import read_checkpoint, verify_checkpoint, write_checkpoint
from trainer.checkpoints.download import LARGEST_VARIABLE
from trainer.checkpoints.resume import choose_checkpoint
from trainer.errors import CheckpointError, ConfigError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder, and the URL of the server that shows it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("named", ["in the fragment", "in the sidecar"])
def test_checkpoint_is_fetched_and_verified_when_its_sha256_is_named(served, tmp_path, named):
    folder, url = served
    write_checkpoint(folder / "a.ckpt", state(step=9))
    fragment = ""
    if named == "in the fragment":
        fragment = f"#sha256={sha256(folder / 'a.ckpt')}"
        (folder / "a.ckpt.json").unlink()
    path = choose_checkpoint(tmp_path, f"{url}/a.ckpt{fragment}")
    assert path.is_relative_to(tmp_path / "downloads")
    assert verify_checkpoint(path)["step"] == 9
    assert choose_checkpoint(tmp_path, f"{url}/a.ckpt{fragment}") == path


def test_checkpoint_is_read_from_a_file_url(served, tmp_path):
    folder, _ = served
    write_checkpoint(folder / "a.ckpt", state(step=9))
    path = choose_checkpoint(tmp_path, (folder / "a.ckpt").as_uri())
    assert read_checkpoint(path)["global_step"] == 9


def test_checkpoint_is_refused_when_it_is_not_the_one_that_was_named(served, tmp_path):
    folder, url = served
    write_checkpoint(folder / "a.ckpt", state())
    with pytest.raises(CheckpointError, match="its sha256 is"):
        choose_checkpoint(tmp_path, f"{url}/a.ckpt#sha256={'0' * 64}")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_checkpoint_is_refused_when_nothing_names_its_sha256(served, tmp_path):
    folder, url = served
    torch.save(state(), folder / "a.ckpt")
    with pytest.raises(CheckpointError, match="nothing says what its sha256 must be"):
        choose_checkpoint(tmp_path, f"{url}/a.ckpt")


def test_malicious_checkpoint_is_refused_when_it_comes_from_a_url(served, tmp_path):
    folder, url = served
    trace = tmp_path / "trace"
    torch.save({"global_step": 1, "evil": Malicious(trace)}, folder / "a.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        choose_checkpoint(tmp_path, f"{url}/a.ckpt#sha256={sha256(folder / 'a.ckpt')}")
    assert not trace.exists()
    assert list((tmp_path / "downloads").iterdir()) == []


def test_checkpoint_is_refused_when_it_is_larger_than_allowed(served, tmp_path, monkeypatch):
    folder, url = served
    write_checkpoint(folder / "a.ckpt", state(size=1000))
    monkeypatch.setenv(LARGEST_VARIABLE, "4000")
    with pytest.raises(CheckpointError, match="larger than 4000 bytes"):
        choose_checkpoint(tmp_path, f"{url}/a.ckpt")


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        ("ftp://example.invalid/a.ckpt", "fetched by http, https, file only"),
        ("file:///nowhere/a.ckpt#sha256=abc", "is not a sha256"),
    ],
)
def test_url_is_refused_when_it_cannot_name_a_checkpoint(tmp_path, resume, message):
    with pytest.raises(ConfigError, match=message):
        choose_checkpoint(tmp_path, resume)


def test_url_is_refused_when_nothing_is_there(served, tmp_path):
    _, url = served
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        choose_checkpoint(tmp_path, f"{url}/a.ckpt#sha256={'0' * 64}")


def test_a_folder_that_cannot_take_the_checkpoint_is_told(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "a.ckpt", state())

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written.*No space left") as caught:
        choose_checkpoint(tmp_path / "run", (tmp_path / "a.ckpt").as_uri())
    assert caught.value.remedy
