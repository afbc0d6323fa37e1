"""Saving in the background: in order, of one moment, with errors that come to light."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.unit.trainer.checkpoints.test_checkpoint_files import state
from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.checkpoints.content import copy_to_cpu
from trainer.checkpoints.writer import CheckpointWriter
from trainer.errors import CheckpointError


@pytest.fixture
def writer():
    writer = CheckpointWriter(background=True)
    yield writer
    writer.teardown()


def test_saved_state_is_that_of_the_moment_when_steps_go_on(writer, tmp_path):
    weight = torch.zeros(1000)
    gate = threading.Event()
    writer.after(gate.wait)
    writer.save_checkpoint({"global_step": 1, "w": weight}, tmp_path / "last.ckpt")
    weight += 1
    assert not (tmp_path / "last.ckpt").exists()
    gate.set()
    writer.drain()
    assert read_checkpoint(tmp_path / "last.ckpt")["w"].sum() == 0


def test_saves_come_in_order_and_the_overtaken_is_dropped(tmp_path):
    begun = []
    writer = CheckpointWriter(background=True, rotate=lambda path, step: begun.append(step))
    gate = threading.Event()
    writer.after(gate.wait)
    for step in (1, 2, 3):
        writer.save_checkpoint(state(step), tmp_path / "last.ckpt")
    writer.after(lambda: begun.append("link"))
    writer.save_checkpoint(state(4), tmp_path / "last.ckpt")
    gate.set()
    writer.drain()
    writer.teardown()
    assert begun == [3, "link", 4]
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4


def test_error_comes_to_light_and_nothing_is_done_after_it(writer, tmp_path):
    (tmp_path / "file").write_text("")
    done = []
    gate = threading.Event()
    writer.after(gate.wait)
    writer.save_checkpoint(state(), tmp_path / "file" / "last.ckpt")
    writer.after(lambda: done.append("link"))
    gate.set()
    with pytest.raises(CheckpointError, match="cannot be written"):
        writer.drain()
    assert done == []
    writer.save_checkpoint(state(), tmp_path / "last.ckpt")
    writer.drain()
    assert (tmp_path / "last.ckpt").exists()


def test_error_comes_to_light_at_the_next_save(writer, tmp_path):
    (tmp_path / "file").write_text("")
    writer.save_checkpoint(state(), tmp_path / "file" / "last.ckpt")
    writer.teardown()
    with pytest.raises(CheckpointError, match="cannot be written"):
        writer.save_checkpoint(state(), tmp_path / "last.ckpt")


def test_pickles_are_refused_when_lightning_asks_for_them(writer, tmp_path):
    with pytest.raises(CheckpointError, match="can run any code"):
        writer.load_checkpoint(tmp_path / "last.ckpt", weights_only=False)


def test_copy_keeps_tied_tensors_tied():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    tied = {"a": model[0].weight, "b": model[0].weight, "state": model.state_dict(), "n": (1, [2])}
    copied = copy_to_cpu(tied)
    assert copied["a"] is copied["b"]
    assert copied["state"]["0.weight"] is copied["a"]
    assert copied["a"].data_ptr() != model[0].weight.data_ptr()
    assert copied["state"]._metadata == model.state_dict()._metadata
    assert copied["n"] == (1, [2])


@pytest.mark.parametrize("attempts", [1, 2])
def test_state_without_room_for_a_copy_is_saved_after_those_before_it(
    tmp_path, monkeypatch, caplog, attempts
):
    failures = []

    def fail(value):
        if len(failures) < attempts:
            failures.append(value)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return copy_to_cpu(value)

    saved = []
    gate = threading.Event()
    writer = CheckpointWriter(background=True, rotate=lambda path, step: saved.append(step))
    writer.after(gate.wait)
    writer.save_checkpoint(state(1), tmp_path / "last.ckpt")
    writer.after(lambda: saved.append("link"))
    monkeypatch.setattr("trainer.checkpoints.writer.copy_to_cpu", fail)
    threading.Timer(0.2, gate.set).start()
    writer.save_checkpoint(state(2), tmp_path / "last.ckpt")
    assert saved[:2] == [1, "link"]
    writer.drain()
    writer.teardown()
    assert saved == [1, "link", 2]
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 2
    assert ("no memory for a copy" in caplog.text) == (attempts == 2)
