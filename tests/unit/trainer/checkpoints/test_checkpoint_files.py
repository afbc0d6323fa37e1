"""Files and sidecars: written whole, verified before they are read, never able to run code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from trainer.checkpoints.checkpoint import (
    link_checkpoint,
    read_checkpoint,
    read_description,
    remove_checkpoint,
    sidecar_path,
    verify_checkpoint,
    write_checkpoint,
)
from trainer.checkpoints.resume import WRITTEN, choose_checkpoint
from trainer.errors import CheckpointError


def state(step: int = 1, size: int = 100) -> dict:
    return {"global_step": step, "epoch": 0, "state_dict": {"w": torch.arange(size) * step}}


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def write_until_its_name(path: Path, checkpoint: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, and crash when the file is about to get its name."""
    replace = Path.replace

    def crash(self, target):
        if target == path:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(path, checkpoint)


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_checkpoint_comes_back_as_it_was(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, state(step=7))
    loaded = read_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(100) * 7)
    entry = json.loads(sidecar_path(path).read_text())
    assert len(entry.pop("seal")) == 64
    assert entry == verify_checkpoint(path)
    assert entry["step"] == 7
    assert entry["bytes"] == path.stat().st_size
    assert names(tmp_path) == ["last.ckpt", "last.ckpt.json"]


def test_checkpoint_is_refused_when_it_would_run_code(tmp_path):
    path, trace = tmp_path / "last.ckpt", tmp_path / "trace"
    write_checkpoint(path, {"global_step": 1, "evil": Malicious(trace)})
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("moment", ["sidecar", "file"])
def test_checkpoint_before_it_verifies_when_a_crash_came_in_between(tmp_path, moment, monkeypatch):
    path = tmp_path / "checkpoints/last.ckpt"
    write_checkpoint(path, state(step=1))
    replace = Path.replace
    done = []

    def crash(self, target):
        done.append(target)
        if len(done) > (1 if moment == "sidecar" else 2):
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(path, state(step=2))
    step = 1 if moment == "sidecar" else 2
    assert verify_checkpoint(path)["step"] == read_description(path)["step"] == step
    other = tmp_path / "checkpoints/step-00000001.ckpt"
    link_checkpoint(path, other)
    assert verify_checkpoint(other)["step"] == step
    write_checkpoint(path, state(step=3))
    assert verify_checkpoint(path)["step"] == 3


def test_folder_is_taken_for_new_when_the_crash_came_in_the_first_save(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints/last.ckpt"
    write_until_its_name(path, state(), monkeypatch)
    assert sidecar_path(path).exists()
    assert choose_checkpoint(tmp_path, "auto") is None
    assert not sidecar_path(path).exists()


def test_link_verifies_and_outlives_its_source(tmp_path):
    source, target = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    write_checkpoint(source, state(step=1))
    link_checkpoint(source, target)
    write_checkpoint(source, state(step=2))
    assert (verify_checkpoint(target)["step"], verify_checkpoint(source)["step"]) == (1, 2)
    remove_checkpoint(source)
    assert names(tmp_path) == ["best.ckpt", "best.ckpt.json"]


@pytest.fixture
def full_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_checkpoint_before_is_intact_when_the_disk_is_full(full_disk):
    path = full_disk / "last.ckpt"
    write_checkpoint(path, state(step=1, size=60_000))
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        write_checkpoint(path, state(step=2, size=90_000))
    assert verify_checkpoint(path)["step"] == 1
    assert names(full_disk) == ["last.ckpt", "last.ckpt.json"]


WATCHER = """
import hashlib, sys
from pathlib import Path
path, seen = Path(sys.argv[1]), set()
print("ready", flush=True)
while not path.with_name("done").exists():
    try:
        seen.add(hashlib.sha256(path.read_bytes()).hexdigest())
    except FileNotFoundError:
        pass
print(*seen)
"""


def test_no_partial_file_is_seen_when_the_temporary_folder_is_on_another_disk(
    tmp_path, monkeypatch
):
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    path = tmp_path / "last.ckpt"
    command = [sys.executable, "-c", WATCHER, str(path)]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watcher.stdout.readline()
    written = set()
    for step in range(60):
        write_checkpoint(path, state(step, size=200_000))
        written.add(verify_checkpoint(path)["sha256"])
    path.with_name("done").touch()
    seen = set(watcher.communicate()[0].split())
    assert watcher.returncode == 0
    assert seen
    assert seen <= written


def forking() -> dict[str, str]:
    """The environment of a script that imports once and forks: threads do not survive that."""
    return os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}


KILLER = """
import os, signal, sys, time
from pathlib import Path
import torch
from trainer.checkpoints.checkpoint import link_checkpoint, read_checkpoint
from trainer.checkpoints.manager import CheckpointManager
from trainer.checkpoints.resume import choose_checkpoint

def write(run, background, step, begun):
    folder = run / "checkpoints"
    manager = CheckpointManager(folder, keep_last=3, background=background)
    while True:
        step += 1
        state = {"global_step": step, "state_dict": {"w": torch.full((100_000,), step)}}
        manager.writer.save_checkpoint(state, folder / "last.ckpt")
        if begun:
            manager.drain()
            os.write(begun, b".")
            begun = None
        if step % 3 == 0:
            manager.writer.after(
                lambda: link_checkpoint(folder / "last.ckpt", folder / "best.ckpt")
            )

for background in (False, True):
    run, step = Path(sys.argv[1]) / str(background), 0
    run.mkdir()
    for attempt in range(20):
        heard, begun = os.pipe()
        writer = os.fork()
        if not writer:
            write(run, background, step, begun)
        os.read(heard, 1)
        time.sleep(0.0037 * attempt)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        chosen = choose_checkpoint(run, "auto")
        assert not (run / "checkpoints/quarantine").exists()
        assert not list((run / "checkpoints").glob(".*"))
        loaded = read_checkpoint(chosen)
        assert torch.all(loaded["state_dict"]["w"] == loaded["global_step"])
        assert loaded["global_step"] > step
        step = loaded["global_step"]
"""


@pytest.mark.slow
def test_whole_checkpoint_is_there_whenever_the_writer_is_killed(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path)]
    subprocess.run(command, check=True, env=forking())


def test_checkpoint_that_vanished_while_it_was_replaced_is_not_taken_for_a_new_one(
    tmp_path, monkeypatch, caplog
):
    path = tmp_path / "checkpoints/last.ckpt"
    write_checkpoint(path, state(step=1))
    link_checkpoint(path, tmp_path / "checkpoints/step-00000001.ckpt")
    write_until_its_name(path, state(step=2), monkeypatch)
    path.unlink()
    assert choose_checkpoint(tmp_path, "auto").name == "step-00000001.ckpt"
    assert "falling back" in caplog.text


def test_checkpoint_whose_removal_was_cut_short_is_not_missed(tmp_path, monkeypatch, caplog):
    path = tmp_path / "checkpoints/last.ckpt"
    write_checkpoint(path, state(step=1))
    old = tmp_path / "checkpoints/step-00000001.ckpt"
    link_checkpoint(path, old)
    unlink = Path.unlink

    def crash(self, **options):
        unlink(self, **options)
        if self == old:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoint(old)
    assert choose_checkpoint(tmp_path, "auto") == path
    assert names(path.parent) == ["last.ckpt", "last.ckpt.json"]
    assert not caplog.text


def test_run_whose_checkpoints_are_gone_does_not_start_from_zero(tmp_path):
    (tmp_path / WRITTEN).touch()
    with pytest.raises(CheckpointError, match="are gone") as caught:
        choose_checkpoint(tmp_path, "auto")
    assert "resume=never" in caught.value.remedy
    assert choose_checkpoint(tmp_path, "never") is None
    assert choose_checkpoint(tmp_path, "auto") is None


def test_link_to_nowhere_is_moved_away_once(tmp_path):
    path = tmp_path / "checkpoints/step-00000001.ckpt"
    write_checkpoint(path, state(step=1))
    for target in ("nowhere", "elsewhere"):
        path.with_name("last.ckpt").symlink_to(target)
        assert choose_checkpoint(tmp_path, "auto") == path
        assert choose_checkpoint(tmp_path, "auto") == path
    moved = {str(link.readlink()) for link in path.with_name("quarantine").iterdir()}
    assert moved == {"nowhere", "elsewhere"}


def test_checkpoint_that_the_disk_does_not_let_go_is_named(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, state(step=1))

    def refuse(self, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be removed"):
        remove_checkpoint(path)
