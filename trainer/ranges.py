"""What the numbers of a config may be, each by itself and against the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainer.errors import ConfigError
from trainer.schema import StrategyName

if TYPE_CHECKING:
    from omegaconf import DictConfig

MONITORS = ("val/accuracy", "val/f1", "val/loss")
_LEAST = {
    "trainer.accumulate": 1,
    "trainer.log_every": 1,
    "trainer.threads": 1,
    "trainer.max_restarts": 0,
    "trainer.restart_backoff": 0,
    "trainer.hang_timeout": 1,
    "trainer.stop_timeout": 1,
    "trainer.min_nodes": 1,
    "callbacks.keep_last": 1,
    "callbacks.save_every_steps": 1,
    "callbacks.patience": 1,
    "callbacks.min_delta": 0,
    "optim.weight_decay": 0,
    "tracking.start_timeout": 0,
    "tracking.flush_timeout": 0,
}
_SEEDS = 2**32
_SHARES = ("optim.warmup", "optim.floor")
_BATCHES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")


def check_ranges(cfg: DictConfig) -> None:
    """Raises ConfigError, naming the first field whose value cannot be."""
    _check_each(cfg)
    _check_length(cfg)
    _check_model(cfg)
    _check_optimizer(cfg)
    _check_checkpoints(cfg)
    if not cfg.tracking.experiment.strip():
        raise _wrong("tracking.experiment", repr(cfg.tracking.experiment), "a name")
    if cfg.callbacks.monitor not in MONITORS:
        raise _wrong("callbacks.monitor", cfg.callbacks.monitor, f"one of {', '.join(MONITORS)}")


def _check_each(cfg: DictConfig) -> None:
    for field, least in _LEAST.items():
        value = _value(cfg, field)
        if value is not None and not value >= least:  # `not`: NaN is nothing
            raise _wrong(field, value, f"at least {least}")
    for field in _SHARES:
        value = _value(cfg, field)
        if not 0 <= value <= 1:
            raise _wrong(field, value, "a share, from 0 to 1")
    if not 0 <= cfg.seed < _SEEDS:
        raise _wrong("seed", cfg.seed, f"from 0 to {_SEEDS - 1}")
    if cfg.trainer.limit_train_batches == 0:
        raise _wrong("trainer.limit_train_batches", 0, "more than 0: nothing would be trained")
    for name in _BATCHES:
        value = cfg.trainer[name]
        if value < 0 or (isinstance(value, float) and value > 1):
            raise _wrong(f"trainer.{name}", value, "a number of batches or a share, 0.0 to 1.0")
    nodes = cfg.trainer.num_nodes
    rank = cfg.trainer.node_rank
    if rank is not None and not 0 <= rank < nodes:
        raise _wrong("trainer.node_rank", rank, f"from 0 to {nodes - 1}, one for each machine")
    if cfg.trainer.min_nodes is not None and cfg.trainer.min_nodes > nodes:
        raise _wrong(
            "trainer.min_nodes", cfg.trainer.min_nodes, f"at most trainer.num_nodes={nodes}"
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
    if not 0 < every < math.inf or (every > 1 and every != int(every)):
        raise _wrong("trainer.val_every", every, "a share of an epoch or a whole number of epochs")


def _check_model(cfg: DictConfig) -> None:
    dropout, peak = cfg.model.get("dropout"), cfg.trainer.peak_tflops
    if dropout is not None and not 0 <= dropout < 1:
        raise _wrong("model.dropout", dropout, "from 0 to less than 1")
    if peak is not None and not peak > 0:
        raise _wrong("trainer.peak_tflops", peak, "greater than 0, or null")


def _check_optimizer(cfg: DictConfig) -> None:
    if not 0 < cfg.optim.lr < math.inf:
        raise ConfigError(
            f"optim.lr={cfg.optim.lr}: must be a number greater than 0",
            field="optim.lr",
            remedy=f"model={cfg.model.name} suggests optim.lr={cfg.model.lr}",
        )
    if not 0 <= cfg.loss.label_smoothing < 1:
        raise _wrong("loss.label_smoothing", cfg.loss.label_smoothing, "from 0 to less than 1")
    betas = cfg.optim.get("betas")
    if betas is not None and (len(betas) != 2 or not all(0 <= beta < 1 for beta in betas)):
        raise _wrong("optim.betas", list(betas), "two numbers from 0 to less than 1")
    clip = cfg.trainer.gradient_clip
    if clip is not None and not clip > 0:
        raise _wrong("trainer.gradient_clip", clip, "greater than 0, or null")


def _check_checkpoints(cfg: DictConfig) -> None:
    callbacks = cfg.callbacks
    if callbacks.async_save and callbacks.sharded:
        raise ConfigError(
            "callbacks.async_save=true, callbacks.sharded=true: one or the other",
            field="callbacks.async_save",
            remedy="shards are written by all processes together, and all wait for them",
        )
    if callbacks.save_every_steps is not None and not callbacks.save_last:
        raise ConfigError(
            f"callbacks.save_every_steps={callbacks.save_every_steps} does not go with"
            " callbacks.save_last=false: it is last.ckpt that is written so often",
            field="callbacks.save_every_steps",
            remedy="use callbacks.save_last=true, or callbacks.save_every_steps=null",
        )
    decay = callbacks.ema_decay
    if decay is not None and not 0 < decay < 1:
        raise _wrong("callbacks.ema_decay", decay, "between 0 and 1")
    fsdp = cfg.strategy.name == StrategyName.fsdp
    if decay is not None and fsdp:
        raise ConfigError(
            f"callbacks.ema_decay={decay} does not go with strategy=fsdp",
            field="callbacks.ema_decay",
            remedy="use strategy=ddp, or callbacks.ema_decay=null",
        )
    if callbacks.sharded and fsdp:
        raise ConfigError(
            "callbacks.sharded=true does not go with strategy=fsdp, whose checkpoints are whole",
            field="callbacks.sharded",
            remedy="use strategy=ddp, or callbacks.sharded=false",
        )


def _value(cfg: DictConfig, field: str) -> Any:
    group, _, name = field.partition(".")
    return cfg[group][name]


def _wrong(field: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"{field}={value}: must be {expected}", field=field)
