"""The parts of a run, made from its config: data, module, Lightning's trainer, callbacks."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from trainer import environment
from trainer.build import build_data, build_model, build_optimizer, data_name, describe_model, plain
from trainer.callbacks.average import NoAverage, WeightAverage
from trainer.callbacks.early_stop import EarlyStop
from trainer.callbacks.heartbeat import Heartbeat
from trainer.callbacks.progress import progress_callbacks
from trainer.callbacks.record_metrics import RecordMetrics
from trainer.callbacks.stop import StopAtBatch, StopSignals, StopTogether
from trainer.callbacks.unfinished_epoch import UnfinishedEpoch, epoch_had_ended
from trainer.callbacks.validation_times import ValidationTimes
from trainer.checkpoints.checkpoint import CHECKPOINT_SCHEMA, KEY, read_checkpoint
from trainer.checkpoints.manager import CheckpointManager
from trainer.errors import CheckpointError, ConfigError, DataError
from trainer.identity import differing_fields
from trainer.lightning_model import LightningModel
from trainer.microbatch import MicroBatches
from trainer.optimizers import rate_factor
from trainer.parallel.batchnorm import EqualBuffers, make_accord, synchronize_batchnorm
from trainer.parallel.strategies import make_strategy
from trainer.profiler import NoProfiler
from trainer.schema import Direction, OutOfMemory, PrecisionName, Progress, Schedule, StrategyName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from omegaconf import DictConfig
    from pytorch_lightning.loggers import Logger

    from trainer.control import ControlFolder
    from trainer.data.module import DataModule
    from trainer.parallel.group import Group

log = logging.getLogger(__name__)

_PRECISIONS = {
    PrecisionName.fp32: "32-true",
    PrecisionName.fp16: "16-mixed",
    PrecisionName.bf16: "bf16-mixed",
}


def set_up_data(cfg: DictConfig, *, assets_dir: Path, group: Group) -> DataModule:
    """The data, read, split and preprocessed; only the main process writes to `assets_dir`."""
    data = build_data(cfg, assets_dir=assets_dir if group.is_main else None)
    data.setup()
    sizes = [f"{len(part)} {split}" for split, part in data.splits.by_name().items()]
    log.info("%s: %s, %d classes", data_name(cfg), ", ".join(sizes), data.num_classes)
    return data


def make_module(
    cfg: DictConfig,
    data: DataModule,
    *,
    group: Group,
    notice: Callable[..., None] | None = None,
) -> LightningModel:
    """The model with fresh or pretrained weights, its loss and its optimiser.

    `notice`: see MicroBatches. The module's card lacks one thing, the `run_id`, which is known when
    the records are open.
    """
    torch.manual_seed(cfg.seed)
    model = build_model(cfg, num_classes=data.num_classes, preprocessor=data.preprocessor)
    model.train()  # pretrained weights come in eval mode, without dropout
    description = describe_model(model)
    if cfg.trainer.sync_batchnorm and not group.is_alone:
        synchronize_batchnorm(model)
    if cfg.trainer.compile:
        model.compile()
    pieces = None
    sharded = cfg.strategy.name == StrategyName.fsdp  # gathers weights in the middle of a batch
    if cfg.trainer.out_of_memory == OutOfMemory.retry and not sharded:
        accord = None if group.is_alone else make_accord(model)
        pieces = MicroBatches(model, accord=accord, notice=notice)
    steps = count_steps(cfg, batches=len(data.train_dataloader()))
    log.info("%s: %s weights", cfg.model.name, f"{sum(p.numel() for p in model.parameters()):,}")
    return LightningModel(
        model,
        num_classes=data.num_classes,
        make_optimizer=partial(build_optimizer, cfg),
        rate=rate_factor(
            Schedule(cfg.optim.schedule),
            total_steps=steps,
            warmup=cfg.optim.warmup,
            floor=cfg.optim.floor,
        ),
        label_smoothing=cfg.loss.label_smoothing,
        class_weights=data.class_weights,
        log_every=cfg.trainer.log_every,
        seed=cfg.seed,
        pieces=pieces,
        card={
            "schema": CHECKPOINT_SCHEMA,
            "config": plain(cfg),
            "task": data.task,
            "labels": list(data.labels),
            "preprocessing": data.preprocessor.config.to_dict(),
            "assets": {name: content.decode() for name, content in data.assets.items()},
            "model": description,
            "data_fingerprint": data.fingerprint,
            "versions": environment.versions(),
            "git_commit": environment.git_commit(),
        },
    )


def count_steps(cfg: DictConfig, *, batches: int) -> int:
    """Optimiser steps of the whole run; -1 if only something else can end it.

    Lightning's own estimate would make it forget where in an epoch a resumed run is.
    """
    for limit in (cfg.trainer.overfit_batches or 1.0, cfg.trainer.limit_train_batches):
        batches = int(min(batches, limit) if isinstance(limit, int) else batches * limit)
    epochs, steps = int(cfg.trainer.max_epochs), int(cfg.trainer.max_steps)
    if epochs == -1:
        return steps
    total = math.ceil(batches / int(cfg.trainer.accumulate)) * epochs
    return total if steps == -1 else min(total, steps)


def make_checkpoint_manager(
    cfg: DictConfig, folder: Path, *, resumed_from: Path | None = None
) -> CheckpointManager:
    """Which checkpoints the run keeps in `folder`, one of which it may go on from."""
    return CheckpointManager(
        folder,
        monitor=cfg.callbacks.monitor,
        maximise=cfg.callbacks.mode == Direction.max,
        save_best=cfg.callbacks.save_best,
        save_last=cfg.callbacks.save_last,
        keep_last=cfg.callbacks.keep_last,
        every_steps=cfg.callbacks.save_every_steps,
        background=cfg.callbacks.async_save,
        sharded=cfg.callbacks.sharded,
        resumed_from=resumed_from,
    )


def make_trainer(
    cfg: DictConfig,
    data: DataModule,
    *,
    accelerator: str,
    folder: Path,
    loggers: list[Logger],
    signals: StopSignals,
    manager: CheckpointManager,
    group: Group,
    control: ControlFolder | None = None,
) -> pl.Trainer:
    """Lightning's trainer. The manager comes after early stopping, whose state it saves,
    and after what asks for a validation. Buffers are made equal once the average is in place.
    """
    callbacks: list[pl.Callback] = [RecordMetrics()]
    if group.is_main:
        callbacks += progress_callbacks(Progress(cfg.trainer.progress))
    validates = len(data.splits.val) > 0
    if cfg.callbacks.patience is not None:
        if not validates:
            raise DataError(
                "callbacks.patience needs a validation split to watch, but data.val_fraction is 0",
                field="data.val_fraction",
            )
        callbacks.append(
            EarlyStop(
                monitor=cfg.callbacks.monitor,
                mode=cfg.callbacks.mode,
                patience=cfg.callbacks.patience,
                min_delta=cfg.callbacks.min_delta,
            )
        )
    decay = cfg.callbacks.ema_decay
    callbacks.append(NoAverage() if decay is None else WeightAverage(decay))
    if not group.is_alone and not cfg.trainer.sync_batchnorm:
        callbacks.append(EqualBuffers())
    stop = StopAtBatch if group.is_alone else StopTogether
    callbacks += [UnfinishedEpoch(), ValidationTimes(), manager, stop(signals, manager)]
    if control is not None:
        callbacks.append(Heartbeat(control, rank=group.rank))
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=group.local_world_size,
        num_nodes=group.nodes,
        strategy=make_strategy(cfg, group),
        precision=_PRECISIONS[PrecisionName(cfg.precision.name)],  # type: ignore[arg-type]
        logger=loggers,
        callbacks=callbacks,
        plugins=[manager.writer],
        default_root_dir=folder,
        max_epochs=cfg.trainer.max_epochs,
        max_steps=cfg.trainer.max_steps,
        accumulate_grad_batches=cfg.trainer.accumulate,
        gradient_clip_val=cfg.trainer.gradient_clip,
        deterministic=cfg.trainer.deterministic,
        limit_train_batches=cfg.trainer.limit_train_batches,
        limit_val_batches=cfg.trainer.limit_val_batches if validates else 0,
        limit_test_batches=cfg.trainer.limit_test_batches,
        overfit_batches=cfg.trainer.overfit_batches,
        log_every_n_steps=cfg.trainer.log_every,
        num_sanity_val_steps=0,
        profiler=NoProfiler(),
        # The sampler is ours: Lightning's would shuffle differently in every number of processes.
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **_validation_rhythm(cfg.trainer.val_every),
    )
    # Lightning's handler of SIGTERM would end the run before our checkpoint is written, and in
    # several processes it would broadcast, in the middle of anything.
    trainer._signal_connector.register_signal_handlers = _no_handlers  # type: ignore[method-assign]  # noqa: SLF001
    return trainer


def _no_handlers() -> None:
    """The signals stay with StopSignals."""


def check_resumable(path: Path, card: Mapping[str, Any], *, notice: Callable[..., None]) -> bool:
    """Whether what comes is what would have come, had the run not ended: settings and data are
    those of the checkpoint.

    `notice` is called with what is recorded of other data. Raises CheckpointError or ConfigError if
    the run of `card` cannot go on from this one.
    """
    checkpoint = read_checkpoint(path)
    own = checkpoint.get(KEY)
    if not isinstance(own, dict):
        raise CheckpointError(f"{path}: a checkpoint, but train.py did not write it")
    for key, what in (("model", "another model"), ("labels", "other classes")):
        if own.get(key) != card[key]:
            raise ConfigError(
                f"resume={path}: the checkpoint is of {what} than this run",
                field="resume",
                remedy="repeat the overrides of the first run; they are in its config.yaml",
            )
    epoch, last = int(checkpoint.get("epoch", 0)), int(card["config"]["trainer"]["max_epochs"])
    if 0 <= last < epoch:
        raise ConfigError(
            f"trainer.max_epochs={last}: the checkpoint {path} is in epoch {epoch + 1}",
            field="trainer.max_epochs",
            remedy=f"give {epoch + 1} or more, or start over with resume=never",
        )
    size, given = ((c.get("config") or {}).get("data", {}).get("batch_size") for c in (own, card))
    if size != given and not epoch_had_ended(checkpoint):
        raise ConfigError(
            f"data.batch_size={given}: the checkpoint is in the middle of an epoch of batches of"
            f" {size}",
            field="data.batch_size",
            remedy=f"go on with data.batch_size={size}, or from the checkpoint of an epoch's end",
        )
    differing = differing_fields(own.get("config") or {}, card["config"])
    if differing:
        log.warning(
            "%s: the run goes on with another %s than it began with", path, ", ".join(differing)
        )
    trained_on, found = own.get("data_fingerprint"), card["data_fingerprint"]
    if trained_on is not None and trained_on != found:
        log.warning(
            "%s: the data are not those that it was trained on: samples, classes or splits are"
            " others. Its epoch goes on in another order, so that some samples come twice in it and"
            " some not at all, and what is validated may have been trained on",
            path,
        )
        notice(checkpoint=str(path), trained_on=trained_on, given=found)
        return False
    return not differing


def _validation_rhythm(every: float) -> dict[str, Any]:
    if every <= 1:
        return {"val_check_interval": float(every)}
    return {"check_val_every_n_epoch": int(every)}
