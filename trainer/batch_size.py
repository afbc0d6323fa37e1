"""`data.batch_size=auto`: the largest batch that fits, found by computing some."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import distributed

from trainer.checkpoints.checkpoint import KEY, read_checkpoint
from trainer.errors import DataError, TrainerError
from trainer.memory import Peak, available_bytes, is_out_of_memory, release
from trainer.schema import PrecisionName

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omegaconf import DictConfig

    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.parallel.group import Group
    from trainer.preflight import Plan

log = logging.getLogger(__name__)
_SMALLEST = 2
"""Batch normalisation has nothing to normalise by in a single sample."""
_MARGIN = 0.8
"""Share of the CPU's available memory that a batch may take: Linux kills instead of refusing."""
_DTYPES = {PrecisionName.fp16: torch.float16, PrecisionName.bf16: torch.bfloat16}


def earlier_batch_size(checkpoint: Path | None) -> int | None:
    """Of the run that goes on from `checkpoint`: where it is in an epoch depends on it."""
    if checkpoint is None:
        return None
    config = read_checkpoint(checkpoint).get(KEY, {}).get("config", {})
    size = config.get("data", {}).get("batch_size")
    return size if isinstance(size, int) else None


def find_batch_size(
    cfg: DictConfig, data: DataModule, module: LightningModel, *, plan: Plan, group: Group
) -> int:
    """Samples of all processes together. `module` is used up: its weights are stepped.

    All processes call this, and are told the same. It can be shared equally by as many machines as
    may be left. Raises TrainerError if no such batch fits, DataError if there are fewer samples
    than processes.
    """
    samples = len(data.splits.train)
    limit = min(int(cfg.data.max_batch_size), samples) // group.world_size
    if limit < 1:  # max_batch_size has been checked
        raise DataError(
            f"data.batch_size=auto: {samples} training samples are fewer than the"
            f" {group.world_size} processes",
            field="data.batch_size",
            remedy=f"use data.batch_size={group.world_size}, which repeats samples, or fewer"
            " processes (trainer.devices, trainer.num_nodes)",
        )
    on_gpu = plan.accelerator == "gpu"
    device = torch.device("cuda", group.local_rank) if on_gpu else torch.device("cpu")
    trial = _Trial(cfg, data, module, device=device, processes=group.local_world_size)
    share = torch.tensor(largest(trial.fits, limit=limit))
    if not group.is_alone:
        distributed.all_reduce(share, op=distributed.ReduceOp.MIN)
    if not share:
        raise TrainerError(
            f"data.batch_size=auto: not even {_SMALLEST} samples fit into the memory of {device}",
            field="data.batch_size",
            remedy="choose a smaller model or smaller inputs",
        )
    fits = int(share) * group.world_size
    found = fits - fits % plan.batch_multiple
    if not found:
        raise TrainerError(
            f"data.batch_size=auto: {fits} samples fit, and only a multiple of"
            f" {plan.batch_multiple} can be shared by any number of machines from"
            f" trainer.min_nodes={plan.min_nodes} on",
            field="data.batch_size",
            remedy=f"use trainer.min_nodes={plan.nodes}",
        )
    log.info("data.batch_size=auto: %d fits", found)
    return found


def largest(fits: Callable[[int], bool], *, limit: int) -> int:
    """The largest power of two that fits, then what a quarter of it more or less still does.

    `limit`, which is at least 1, is never exceeded, and taken if it fits; 0 if nothing does.
    """
    size = min(_SMALLEST, limit)
    if not fits(size):
        return 0
    while 2 * size <= limit and fits(2 * size):
        size *= 2
    if size < limit < 2 * size and fits(limit):
        return limit
    for part in (size // 2, size // 4):
        if part and size + part < limit and fits(size + part):
            size += part
    return size


class _Trial:
    """Forward, backward and a step of the optimiser on real samples."""

    def __init__(
        self,
        cfg: DictConfig,
        data: DataModule,
        module: LightningModel,
        *,
        device: torch.device,
        processes: int,
    ) -> None:
        """`processes` share the memory of this machine."""
        self._data = data
        self._device = device
        self._processes = processes
        self._module = module.to(device)
        self._optimizer = module.make_optimizer(module.model)
        self._dtype = _DTYPES.get(PrecisionName(cfg.precision.name))
        self._sample_bytes = 0.0

    def fits(self, size: int) -> bool:
        needed = self._sample_bytes * size * self._processes
        if self._device.type == "cpu" and needed > _MARGIN * available_bytes():
            return False
        log.info("data.batch_size=auto: trying %d a process", size)
        peak = Peak()
        try:
            self._step(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fine = False
        else:
            fine = True
        # Not within `except`: the error's traceback holds on to tensors.
        self._module.zero_grad()
        release()
        self._sample_bytes = peak.grown() / size
        return fine

    def _step(self, size: int) -> None:
        batch = {name: t.to(self._device) for name, t in self._data.first_samples(size).items()}
        enabled = self._dtype is not None
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=enabled):
            loss, _ = self._module.loss(batch, size)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
