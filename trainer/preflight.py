"""Can this machine do what was asked for? Asked before anything is loaded."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from omegaconf import OmegaConf

from trainer.checkpoints.resume import check_resume
from trainer.data.schema import AUTO
from trainer.errors import ConfigError, PreflightError
from trainer.ranges import check_ranges
from trainer.schema import Accelerator, PrecisionName, StrategyName

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a run computes."""

    accelerator: str
    """"cpu" or "gpu", decided."""
    devices: int
    """On each node."""
    nodes: int
    min_nodes: int
    """What is left of them may go on without the others."""

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes

    @property
    def world_sizes(self) -> range:
        """Processes in all, as many as there may ever be: of `min_nodes`, of one more, ..."""
        return range(self.devices * self.min_nodes, self.world_size + 1, self.devices)

    @property
    def batch_multiple(self) -> int:
        """What a batch must be a multiple of, so that any of these numbers can share it equally."""
        return math.lcm(*self.world_sizes)


def preflight(cfg: DictConfig) -> Plan:
    """Where the run will compute. Raises ConfigError or PreflightError if it cannot."""
    _check_complete(cfg)
    plan = _plan(cfg)
    _check_strategy(cfg, plan)
    _check_precision(cfg, plan)
    _check_compiler(cfg, plan)
    check_ranges(cfg)
    _check_batch_size(cfg, plan)
    return plan


def _check_complete(cfg: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: must be given",
            field=missing[0],
            remedy=f"add {' '.join(f'{name}=…' for name in missing)}",
        )
    check_resume(cfg.resume)


def _plan(cfg: DictConfig) -> Plan:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    accelerator = cfg.trainer.accelerator
    devices = _device_count(cfg.trainer.devices)
    nodes = int(cfg.trainer.num_nodes)
    if nodes < 1:
        raise PreflightError(
            f"trainer.num_nodes={nodes}: must be at least 1", field="trainer.num_nodes"
        )
    on_gpu = accelerator == Accelerator.gpu or (accelerator == Accelerator.auto and found > 0)
    wants_gpus = on_gpu or (accelerator == Accelerator.auto and devices > 1)
    if wants_gpus and devices > found:
        simulate = "use trainer.accelerator=cpu"
        if devices > 1:
            simulate += " trainer.devices=2 to simulate"
        raise PreflightError(
            f"trainer.devices={devices}, but {found} GPUs were found (torch {torch.__version__})",
            field="trainer.devices",
            remedy=simulate if found == 0 else f"use trainer.devices={found}",
        )
    least = cfg.trainer.min_nodes
    return Plan(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        nodes=nodes,
        min_nodes=nodes if least is None else int(least),
    )


def _device_count(devices: int | str) -> int:
    """`auto` is one device: more are a decision, not a discovery."""
    if devices == "auto":
        return 1
    try:
        count = int(devices)
    except ValueError:
        count = 0
    if count < 1:
        raise PreflightError(
            f"trainer.devices={devices}: must be a number from 1 on, or auto",
            field="trainer.devices",
        )
    return count


def _check_strategy(cfg: DictConfig, plan: Plan) -> None:
    strategy = cfg.strategy.name
    if strategy == StrategyName.single and plan.world_size > 1:
        raise PreflightError(
            f"strategy=single, but trainer.devices={plan.devices} and"
            f" trainer.num_nodes={plan.nodes}",
            field="strategy",
            remedy="use strategy=auto, or one device",
        )
    if strategy == StrategyName.fsdp and plan.world_size == 1:
        raise PreflightError(
            "strategy=fsdp shards a model over several devices, but trainer.devices=1",
            field="strategy",
            remedy="use strategy=auto, or trainer.devices=2",
        )


def _check_precision(cfg: DictConfig, plan: Plan) -> None:
    precision = cfg.precision.name
    if precision == PrecisionName.fp16 and plan.accelerator == "cpu":
        raise PreflightError(
            "precision=fp16 needs a GPU: on a CPU it would silently become bf16",
            field="precision",
            remedy="use precision=bf16 or precision=fp32",
        )
    on_gpu = plan.accelerator == "gpu"
    if precision == PrecisionName.bf16 and on_gpu and not torch.cuda.is_bf16_supported():
        raise PreflightError(
            f"precision=bf16: {torch.cuda.get_device_name(0)} does not have it",
            field="precision",
            remedy="use precision=fp16",
        )


def _check_compiler(cfg: DictConfig, plan: Plan) -> None:
    given = os.environ.get("CXX")
    compilers = (given,) if given else _COMPILERS
    if cfg.trainer.compile and plan.accelerator == "cpu" and not any(map(shutil.which, compilers)):
        raise PreflightError(
            f"trainer.compile=true needs a C++ compiler, and none of {', '.join(compilers)} was"
            " found",
            field="trainer.compile",
            remedy="install g++ or name one in CXX, or use trainer.compile=false",
        )


def _check_batch_size(cfg: DictConfig, plan: Plan) -> None:
    size, most = cfg.data.batch_size, cfg.data.max_batch_size
    if isinstance(size, str) and size != AUTO:
        raise ConfigError(
            f"data.batch_size={size} must be a whole number or 'auto'", field="data.batch_size"
        )
    for processes in plan.world_sizes:
        if size != AUTO and size % processes:
            raise ConfigError(
                f"data.batch_size={size} cannot be shared equally by {processes} processes",
                field="data.batch_size",
                remedy=f"use a multiple of {plan.batch_multiple}",
            )
    if most < plan.batch_multiple:
        raise ConfigError(
            f"data.max_batch_size={most}: must be at least {plan.batch_multiple}, of which every"
            " process has an equal share",
            field="data.max_batch_size",
        )
    if size == AUTO and cfg.strategy.name == StrategyName.fsdp:
        raise ConfigError(
            "data.batch_size=auto does not go with strategy=fsdp: what fits into one process does"
            " not tell what fits when the model is in shards",
            field="data.batch_size",
            remedy="give a number, or use strategy=ddp",
        )
