from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
import torch

from trainer.disk import check_folder, check_space
from trainer.errors import PreflightError

Usage = namedtuple("Usage", "total used free")
KIB = 2**10


@pytest.fixture
def model() -> torch.nn.Module:
    """64 KiB of weights."""
    return torch.nn.Linear(128, 128, bias=False)


@pytest.fixture
def free(monkeypatch):
    """Set how much room the disk has."""

    def set_free(amount):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, amount))

    return set_free


def test_space_is_refused_when_the_checkpoints_do_not_fit(tmp_path, model, free):
    free(2 * 3 * 64 * KIB - 1)
    with pytest.raises(PreflightError, match=r"2 checkpoints of this model") as caught:
        check_space(tmp_path / "checkpoints", model, kept=2, copies=3)
    assert caught.value.field == "hydra.run.dir"
    free(2 * 3 * 64 * KIB)
    check_space(tmp_path / "checkpoints", model, kept=2, copies=3)


def test_space_counts_checkpoints_that_are_there_once_when_a_run_goes_on(tmp_path, model, free):
    (tmp_path / "last.ckpt").write_bytes(bytes(192 * KIB))
    (tmp_path / "best.ckpt").hardlink_to(tmp_path / "last.ckpt")
    shards = tmp_path / "step-00000001.ckpt"
    shards.mkdir()
    (shards / "__0_0.distcp").write_bytes(bytes(100 * KIB))
    free(92 * KIB)
    check_space(tmp_path, model, kept=2, copies=3)
    free(92 * KIB - 1)
    with pytest.raises(PreflightError):
        check_space(tmp_path, model, kept=2, copies=3)


def test_folder_is_refused_when_it_cannot_be_written_to(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(PreflightError, match="checkpoints cannot be written there"):
        check_folder(tmp_path / "taken")
