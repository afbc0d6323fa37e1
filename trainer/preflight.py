"""Can this machine do what was asked for? Asked before anything is loaded."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from omegaconf import OmegaConf

from trainer.data.schema import AUTO
from trainer.errors import ConfigError, PreflightError
from trainer.resume import check_resume
from trainer.schema import Accelerator, PrecisionName, StrategyName

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import nn

_COMPILERS = ("g++", "clang++", "c++")
MONITORS = ("val/accuracy", "val/f1", "val/loss")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a run computes."""

    accelerator: str
    """"cpu" or "gpu", decided."""
    devices: int
    """On each node."""
    nodes: int

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def preflight(cfg: DictConfig) -> Plan:
    """Where the run will compute. Raises ConfigError or PreflightError if it cannot."""
    _check_complete(cfg)
    plan = _plan(cfg)
    _check_strategy(cfg, plan)
    _check_precision(cfg, plan)
    _check_length(cfg)
    _check_batch_size(cfg, plan)
    _check_launch(cfg, plan)
    if cfg.callbacks.monitor not in MONITORS:
        raise ConfigError(
            f"callbacks.monitor={cfg.callbacks.monitor}: must be one of {', '.join(MONITORS)}",
            field="callbacks.monitor",
        )
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
    return Plan(accelerator="gpu" if on_gpu else "cpu", devices=devices, nodes=nodes)


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


def _check_launch(cfg: DictConfig, plan: Plan) -> None:
    trainer = cfg.trainer
    for name, value, least in (
        ("max_restarts", trainer.max_restarts, 0),
        ("restart_backoff", trainer.restart_backoff, 0),
        ("hang_timeout", trainer.hang_timeout, 1),
        ("stop_timeout", trainer.stop_timeout, 1),
        ("min_nodes", trainer.min_nodes, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(
                f"trainer.{name}={value}: must be at least {least}", field=f"trainer.{name}"
            )
    if trainer.min_nodes is not None and trainer.min_nodes > plan.nodes:
        raise ConfigError(
            f"trainer.min_nodes={trainer.min_nodes}: more than trainer.num_nodes={plan.nodes}",
            field="trainer.min_nodes",
        )
    decay = cfg.callbacks.ema_decay
    if decay is not None and not 0 < decay < 1:
        raise ConfigError(
            f"callbacks.ema_decay={decay}: must be between 0 and 1", field="callbacks.ema_decay"
        )
    if decay is not None and cfg.strategy.name == StrategyName.fsdp:
        raise ConfigError(
            f"callbacks.ema_decay={decay} does not go with strategy=fsdp",
            field="callbacks.ema_decay",
            remedy="use strategy=ddp, or callbacks.ema_decay=null",
        )
    if cfg.callbacks.sharded and cfg.strategy.name == StrategyName.fsdp:
        raise ConfigError(
            "callbacks.sharded=true does not go with strategy=fsdp, whose checkpoints are whole",
            field="callbacks.sharded",
            remedy="use strategy=ddp, or callbacks.sharded=false",
        )
    given = os.environ.get("CXX")
    compilers = (given,) if given else _COMPILERS
    if trainer.compile and plan.accelerator == "cpu" and not any(map(shutil.which, compilers)):
        raise PreflightError(
            f"trainer.compile=true needs a C++ compiler, and none of {', '.join(compilers)} was"
            " found",
            field="trainer.compile",
            remedy="install g++ or name one in CXX, or use trainer.compile=false",
        )


def _check_length(cfg: DictConfig) -> None:
    epochs, steps = cfg.trainer.max_epochs, cfg.trainer.max_steps
    if (epochs < 1 and epochs != -1) or (steps < 1 and steps != -1):
        raise ConfigError(
            f"trainer.max_epochs={epochs}, trainer.max_steps={steps}: must be at least 1,"
            " or -1 for no limit",
            field="trainer.max_epochs",
        )
    if epochs == steps == -1:
        raise ConfigError(
            "trainer.max_epochs=-1 and trainer.max_steps=-1: the run would never end",
            field="trainer.max_steps",
        )
    every = cfg.trainer.val_every
    if every <= 0 or (every > 1 and every != int(every)):
        raise ConfigError(
            f"trainer.val_every={every}: must be a share of an epoch or a whole number of epochs",
            field="trainer.val_every",
        )
    if not 0 < cfg.optim.lr < math.inf:
        raise ConfigError(
            f"optim.lr={cfg.optim.lr}: must be a number greater than 0",
            field="optim.lr",
            remedy=f"model={cfg.model.name} suggests optim.lr={cfg.model.lr}",
        )
    if not 0 <= cfg.loss.label_smoothing < 1:
        raise ConfigError(
            f"loss.label_smoothing={cfg.loss.label_smoothing}: must be from 0 to less than 1",
            field="loss.label_smoothing",
        )
    if cfg.trainer.accumulate < 1 or cfg.trainer.log_every < 1:
        raise ConfigError(
            f"trainer.accumulate={cfg.trainer.accumulate},"
            f" trainer.log_every={cfg.trainer.log_every}: must be at least 1",
            field="trainer.accumulate",
        )


def _check_batch_size(cfg: DictConfig, plan: Plan) -> None:
    size, most = cfg.data.batch_size, cfg.data.max_batch_size
    if isinstance(size, str) and size != AUTO:
        raise ConfigError(
            f"data.batch_size={size} must be a whole number or 'auto'", field="data.batch_size"
        )
    if most < plan.world_size:
        raise ConfigError(
            f"data.max_batch_size={most} must be at least the number of processes,"
            f" {plan.world_size}",
            field="data.max_batch_size",
        )
    if size == AUTO and cfg.strategy.name == StrategyName.fsdp:
        raise ConfigError(
            "data.batch_size=auto does not go with strategy=fsdp: what fits into one process does"
            " not tell what fits when the model is in shards",
            field="data.batch_size",
            remedy="give a number, or use strategy=ddp",
        )


def check_folder(folder: Path) -> None:
    """Raises PreflightError if checkpoints could not be written to this run folder."""
    checkpoints = folder / "checkpoints"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=checkpoints):
            pass
    except OSError as error:
        raise PreflightError(
            f"hydra.run.dir={folder}: checkpoints cannot be written there, on"
            f" {filesystem(folder)} ({error.strerror})",
            field="hydra.run.dir",
            remedy="name a folder that you may write to: hydra.run.dir=FOLDER",
        ) from error


def check_space(folder: Path, model: nn.Module, *, kept: int, copies: int) -> None:
    """Raises PreflightError if `kept` checkpoints of `model` do not fit on the disk.

    `copies`: of every weight in one, the optimiser's moments included.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    needed = kept * copies * weights
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PreflightError(
            f"hydra.run.dir={folder.parent}: {free >> 20} MiB are free on {filesystem(folder)}, and"
            f" {kept} checkpoints of this model take about {needed >> 20} MiB",
            field="hydra.run.dir",
            remedy="free some space, lower callbacks.keep_last, or name another folder",
        )


def filesystem(path: Path) -> str:
    """The mount point and kind of the filesystem that `path` is or would be on."""
    path = path.absolute()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    for folder in (path, *path.parents):
        if folder in mounts:
            return f"{folder} ({mounts[folder]})"
    return "/"
