"""Processes that train together, one of which is left with too little memory.

Under RLIMIT_AS the allocator of the CPU refuses, as a GPU's does. Nothing here loads Lightning,
which would take longer than all the rest.
"""

from __future__ import annotations

import resource

import psutil
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.microbatch import MicroBatches
from trainer.parallel.accord import GroupAccord
from trainer.parallel.gradients import GradientMean

SAMPLES, WIDTH, OUTPUTS = 64, 256, 1024
ROOM = SAMPLES * WIDTH * OUTPUTS * 4 * 3 // 2
"""One and a half of Pairs' product: its forward pass takes one, its backward pass two."""


class Pairs(nn.Module):
    """(B, WIDTH) → (B, OUTPUTS), by way of all products, which take memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, OUTPUTS) / WIDTH)
        self.scale = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.scale(x)[:, :, None] * self.weight).sum(1)


class Normalized(nn.Module):
    """The same between statistics of both processes: each waits for the other in there."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(WIDTH, WIDTH)
        self.first = nn.BatchNorm2d(WIDTH)
        self.pairs = Pairs()
        self.last = nn.BatchNorm2d(OUTPUTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.before(x)[:, :, None, None])[:, :, 0, 0]
        return self.last(self.pairs(x)[:, :, None, None])[:, :, 0, 0]


def batch(rank: int, count: int = SAMPLES) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(rank))}


def _virtual_bytes() -> int:
    return psutil.Process().memory_info().vms


def starve(rank: int, folder: str, kind: type[nn.Module]) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = kind()
    accord = _accord(model)
    report: dict[str, object] = {}
    if kind is Pairs:
        wrapped = DistributedDataParallel(model)
        (wrapped(batch(rank)["x"]).square().sum() / SAMPLES).backward()
        report["ddp"] = [p.grad.clone() for p in model.parameters()]
        del wrapped
        model.zero_grad()
    mean = GradientMean(model.parameters())
    events: list[dict[str, object]] = []
    pieces = MicroBatches(model, accord=accord, notice=lambda **fields: events.append(fields))
    pieces.prepare(torch.device("cpu"))
    stages: list[str] = []

    def compute(piece: dict[str, torch.Tensor], number: int | None) -> int:
        stages.append("forward")
        loss = model(piece["x"]).square().sum() / SAMPLES
        stages.append("backward")
        loss.backward()
        stages.append("done")
        return len(piece["x"])

    # Threads and buffers that the first use makes come before the limit.
    pieces.backward(batch(rank, 2), compute, step=0, rank=rank)
    mean()
    model.zero_grad()
    stages.clear()
    if rank == 1:
        resource.setrlimit(resource.RLIMIT_AS, (_virtual_bytes() + ROOM, resource.RLIM_INFINITY))
    sizes = pieces.backward(batch(rank), compute, step=1, rank=rank)
    mean()
    report |= {"sizes": sizes, "events": events, "stages": stages}
    report["gradients"] = [p.grad.clone() for p in model.parameters()]
    torch.optim.AdamW(model.parameters(), lr=0.01).step()
    report["weights"] = [p.detach().clone() for p in model.parameters()]
    report["buffers"] = list(model.buffers())
    torch.save(report, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def _accord(model: nn.Module) -> GroupAccord:
    if isinstance(model, Pairs):
        return GroupAccord()
    from trainer.parallel.batchnorm import (  # loads Lightning: slow
        make_accord,
        synchronize_batchnorm,
    )

    synchronize_batchnorm(model)
    return make_accord(model)
