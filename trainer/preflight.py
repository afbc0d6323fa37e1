"""Can this machine do what was asked for? Asked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import OmegaConf

from trainer.errors import ConfigError, PreflightError
from trainer.schema import Accelerator, PrecisionName, StrategyName

if TYPE_CHECKING:
    from omegaconf import DictConfig

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
    if cfg.resume is not None and not Path(cfg.resume).is_file():
        raise ConfigError(f"resume={cfg.resume}: there is no such checkpoint", field="resume")


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
    if strategy == StrategyName.fsdp:
        reason = "is not supported yet"
        if plan.accelerator == "cpu":
            reason = "shards a model over GPUs, but this run is on the CPU"
        raise PreflightError(
            f"strategy=fsdp {reason}", field="strategy", remedy="use strategy=auto"
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
