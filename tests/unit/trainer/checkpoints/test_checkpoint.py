from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch

from trainer.checkpoints.checkpoint import (
    link_checkpoint,
    read_checkpoint,
    sidecar_path,
    verify_checkpoint,
    write_checkpoint,
)
from trainer.checkpoints.sidecar import write_sealed
from trainer.checkpoints.writer import CheckpointWriter
from trainer.errors import CheckpointError


class Crash(BaseException):
    """As if the power went out."""


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/never",))


def _content(value: float) -> dict[str, object]:
    return {"state_dict": {"w": torch.full((3,), value)}, "global_step": int(value), "epoch": 0}


def test_checkpoint_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, _content(4), facts={"step": 4})
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.full((3,), 4.0))
    described = verify_checkpoint(path)
    assert described["step"] == 4
    assert described["bytes"] == path.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ckpt", "a.ckpt.json"]


@pytest.mark.parametrize("moment", ["write", "rename", "sidecar"])
def test_checkpoint_is_whole_when_a_crash_interrupts_its_replacement(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, _content(1), facts={"step": 1})
    real = type(path).replace

    def replace(self, target):
        if moment == "rename" and str(target).endswith(".ckpt"):
            raise Crash
        done = real(self, target)
        if moment == "sidecar" and str(target).endswith(".ckpt"):
            raise Crash
        return done

    def save(*args, **kwargs):
        args[1].write(b"half")
        raise Crash

    if moment == "write":
        monkeypatch.setattr(torch, "save", save)
    else:
        monkeypatch.setattr(type(path), "replace", replace)
    with pytest.raises(Crash):
        write_checkpoint(path, _content(2), facts={"step": 2})
    monkeypatch.undo()
    step = 2 if moment == "sidecar" else 1
    assert read_checkpoint(path)["global_step"] == step
    assert verify_checkpoint(path)["step"] == step
    write_checkpoint(path, _content(3), facts={"step": 3})
    assert read_checkpoint(path)["global_step"] == 3
    assert not list(tmp_path.glob("*.part"))


def test_link_shares_the_bytes_and_survives_the_next_checkpoint(tmp_path):
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    write_checkpoint(last, _content(1))
    link_checkpoint(last, best)
    link_checkpoint(last, best)
    assert best.stat().st_ino == last.stat().st_ino
    write_checkpoint(last, _content(2))
    assert read_checkpoint(best)["global_step"] == 1
    assert read_checkpoint(last)["global_step"] == 2


def test_link_copies_when_the_filesystem_cannot_link(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    write_checkpoint(tmp_path / "last.ckpt", _content(1))
    link_checkpoint(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert read_checkpoint(tmp_path / "best.ckpt")["global_step"] == 1


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _punch_a_hole(path):
    content = bytearray(path.read_bytes())
    content[100:300] = bytes(200)
    path.write_bytes(content)


def _empty(path):
    path.write_bytes(b"")


def _remove(path):
    path.unlink()


def _remove_sidecar(path):
    sidecar_path(path).unlink()


def _break_sidecar(path):
    sidecar_path(path).write_text("{")


def _foreign_sidecar(path):
    sidecar_path(path).write_text('{"schema": 99}')


def _sidecar_of_another(path):
    value = json.loads(sidecar_path(path).read_text())
    write_sealed(sidecar_path(path), value | {"sha256": "0" * 64})


DAMAGES = [
    _truncate,
    _flip_a_bit,
    _punch_a_hole,
    _empty,
    _remove,
    _remove_sidecar,
    _break_sidecar,
    _foreign_sidecar,
    _sidecar_of_another,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.__name__[1:] for damage in DAMAGES])
def test_checkpoint_is_refused_in_one_line_when_it_is_damaged(tmp_path, damage):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, _content(1))
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoint_is_refused_when_loading_it_could_run_code(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, {"state_dict": {}, "extra": Evil()})
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(path)


def test_checkpoint_is_refused_when_it_is_no_dictionary(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, {})
    torch.save([1], path)
    entry = json.loads(sidecar_path(path).read_text())
    entry |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_sealed(sidecar_path(path), entry)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(path)


def test_lightning_cannot_switch_safe_loading_off(tmp_path):
    path = tmp_path / "a.ckpt"
    door = CheckpointWriter()
    door.save_checkpoint(_content(1), path)
    assert door.load_checkpoint(path)["global_step"] == 1
    with pytest.raises(CheckpointError, match="refused"):
        door.load_checkpoint(path, weights_only=False)
    door.remove_checkpoint(path)
    assert not list(tmp_path.iterdir())
