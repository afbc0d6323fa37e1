from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
import torch
from torch import distributed, multiprocessing

from trainer.disk import check_folder, check_shared, check_space
from trainer.errors import PreflightError
from trainer.parallel.group import Group

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


def _look(rank, meeting, folders):
    """As the only process of one of two nodes."""
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    group = Group(rank=rank, world_size=2, local_rank=0, local_world_size=1)
    try:
        check_shared(folders[rank], group)
        told = "shared"
    except PreflightError as error:
        told = str(error)
    (folders[rank] / f"{rank}.told").write_text(told)
    distributed.destroy_process_group()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
def test_folder_is_refused_on_all_nodes_when_one_does_not_see_it(tmp_path, monkeypatch, shared):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    folders = [tmp_path / "run", tmp_path / ("run" if shared else "other")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    multiprocessing.spawn(_look, args=(tmp_path / "meeting", folders), nprocs=2)
    for rank, folder in enumerate(folders):
        told = (folder / f"{rank}.told").read_text()
        assert ("shared" if shared else "1 of 2 nodes do not see") in told
    assert {file.suffix for folder in folders for file in folder.iterdir()} == {".told"}
