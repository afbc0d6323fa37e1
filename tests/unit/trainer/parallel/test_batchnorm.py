"""Batch normalisation in two processes against the whole batch in one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import distributed, multiprocessing, nn

from trainer.parallel.batchnorm import synchronize_batchnorm

if TYPE_CHECKING:
    from pathlib import Path


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
    ).double()


def _images() -> torch.Tensor:
    return torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def _half(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    network = _network()
    synchronize_batchnorm(network)
    network(_images()[rank::2]).pow(3).mean().backward()
    for value in network.parameters():
        distributed.all_reduce(value.grad)
        value.grad /= 2
    if rank == 0:
        gradients = [value.grad for value in network.parameters()]
        torch.save([gradients, network.state_dict()], f"{folder}/half.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_synchronized_batchnorm_equals_the_whole_batch_when_two_processes_share_it(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    whole = copy.deepcopy(_network())
    whole(_images()).pow(3).mean().backward()
    multiprocessing.spawn(_half, args=(str(tmp_path),), nprocs=2)
    gradients, state = torch.load(tmp_path / "half.pt", weights_only=True)
    for ours, theirs in zip(gradients, whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, atol=1e-6, rtol=0)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=0)
