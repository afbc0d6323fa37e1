"""Shards: written together, verified, read by any number of processes, never able to run code."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from tests.unit.trainer.checkpoints.test_checkpoint_files import Malicious, forking, names
from trainer.checkpoints.checkpoint import (
    consolidate,
    link_checkpoint,
    read_checkpoint,
    remove_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from trainer.checkpoints.sharded import MANIFEST, save_sharded
from trainer.checkpoints.sidecar import write_sealed
from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


def trained(step: int = 1) -> dict:
    torch.manual_seed(step)
    model = torch.nn.Linear(7, 5)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 7)).sum().backward()
    optimizer.step()
    return {
        "global_step": step,
        "epoch": 0,
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "odd": (1, [None, {"half": torch.ones(3, dtype=torch.bfloat16)}]),
    }


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.fixture
def path(tmp_path):
    save_sharded(tmp_path / "last.ckpt", trained())
    return tmp_path / "last.ckpt"


def reseal(path: Path, name: str) -> None:
    """Make the manifest fit a file that was replaced, as an attacker would."""
    manifest = json.loads((path / MANIFEST).read_text())
    content = (path / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"sha256": digest, "bytes": len(content)}
    write_sealed(path / MANIFEST, manifest)


def test_sharded_checkpoint_comes_back_as_it_was(path):
    assert equal(read_checkpoint(path), trained())
    assert verify_checkpoint(path)["step"] == 1


def test_sharded_checkpoint_is_replaced_linked_consolidated_and_removed(path, tmp_path):
    link_checkpoint(path, tmp_path / "best.ckpt")
    save_sharded(path, trained(step=2))
    assert verify_checkpoint(tmp_path / "best.ckpt")["step"] == 1
    assert equal(read_checkpoint(path), trained(step=2))
    whole = consolidate(path, tmp_path / "whole.ckpt")
    assert equal(torch.load(whole, weights_only=True), trained(step=2))
    remove_checkpoint(path)
    assert names(tmp_path) == ["best.ckpt", "whole.ckpt", "whole.ckpt.json"]


def test_one_form_takes_the_place_of_the_other(path, tmp_path):
    write_checkpoint(path, trained(step=2))
    assert verify_checkpoint(path)["step"] == 2
    save_sharded(path, trained(step=3))
    assert names(tmp_path) == ["last.ckpt"]
    assert verify_checkpoint(path)["step"] == 3


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "state.pt", MANIFEST])
@pytest.mark.parametrize("damage", ["delete", "truncate", "flip", "hole"])
def test_property_03_damage_is_detected_when_any_file_of_the_folder_has_it(path, name, damage):
    file = path / name
    content = bytearray(file.read_bytes())
    if damage == "delete":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "hole":
        filled = max(range(0, len(content), 64), key=lambda at: sum(content[at : at + 64]))
        file.write_bytes(content[:filled] + bytes(64) + content[filled + 64 :])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(CheckpointError):
        verify_checkpoint(path)


def test_foreign_file_is_detected(path):
    (path / "__1_0.distcp").write_bytes(b"")
    with pytest.raises(CheckpointError, match="foreign"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", [".metadata", "state.pt"])
def test_sharded_checkpoint_is_refused_when_it_would_run_code(path, name, tmp_path):
    trace = tmp_path / "trace"
    (path / name).write_bytes(pickle.dumps(Malicious(trace)))
    reseal(path, name)
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(path)
    assert not trace.exists()


WORKERS = """
import os, sys
from datetime import timedelta
from pathlib import Path
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from trainer.checkpoints.checkpoint import read_checkpoint
from trainer.checkpoints.sharded import save_sharded

whole = torch.arange(60, dtype=torch.float32).reshape(10, 6)

def save(path, mesh):
    parts = distribute_tensor(whole, mesh, [Shard(0)])
    save_sharded(path, {"global_step": 5, "w": parts, "b": torch.full((4,), 3.0)})

def load(path, mesh):
    state = read_checkpoint(path)
    assert torch.equal(state["w"], whole)
    assert torch.equal(state["b"], torch.full((4,), 3.0))

def work(action, path, rank, world):
    store = dist.FileStore(f"{path}.{action.__name__}", world)
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=limit)
    action(path, init_device_mesh("cpu", (world,)))
    dist.destroy_process_group()

def together(action, path, world):
    workers = []
    for rank in range(world):
        workers.append(os.fork())
        if not workers[-1]:
            status = 1
            try:
                work(action, path, rank, world)
                status = 0
            finally:
                os._exit(status)
    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * world

for writers, readers in ((2, 1), (1, 2)):
    path = Path(sys.argv[1]) / f"{writers}.ckpt"
    together(save, path, writers)
    together(load, path, readers)
"""


@pytest.mark.slow
def test_property_03_sharded_checkpoint_is_read_by_another_number_of_processes(tmp_path):
    command = [sys.executable, "-c", WORKERS, str(tmp_path)]
    subprocess.run(command, check=True, env=forking())
    for writers in (1, 2):
        sharded = tmp_path / f"{writers}.ckpt"
        assert len(list(sharded.glob("*.distcp"))) == writers
        loaded = read_checkpoint(consolidate(sharded, tmp_path / "whole.ckpt"))
        assert torch.equal(loaded["w"], torch.arange(60.0).reshape(10, 6))
        assert loaded["global_step"] == 5
