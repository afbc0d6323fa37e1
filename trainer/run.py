"""train(cfg): one run, from a config to a tested checkpoint and its records."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from trainer.batch_size import earlier_batch_size, find_batch_size
from trainer.build import plain, run_name
from trainer.callbacks.stop import StopSignals
from trainer.checkpoints.checkpoint import KEY, read_checkpoint, read_description
from trainer.checkpoints.resume import (
    choose_checkpoint,
    choose_together,
    start_at,
)
from trainer.data.schema import AUTO as AUTO_SIZE
from trainer.disk import check_shared, check_space
from trainer.errors import Stopped, TrainerError
from trainer.events import ENDS, record
from trainer.finished import finished_metrics
from trainer.memory import running_out_explained
from trainer.parallel.group import Group
from trainer.parallel.strategies import load_weights
from trainer.preflight import preflight
from trainer.process import nags_silenced, torch_settings
from trainer.records import write_predictions
from trainer.run_folder import FAILED, FINISHED, STOPPED, RunFolder
from trainer.run_records import RunRecords
from trainer.setup import (
    check_resumable,
    make_checkpoint_manager,
    make_module,
    make_trainer,
    set_up_data,
)
from trainer.speed.performance import measure

if TYPE_CHECKING:
    from pathlib import Path

    import pytorch_lightning as pl

    from trainer.checkpoints.manager import CheckpointManager
    from trainer.checkpoints.resume import Start
    from trainer.control import ControlFolder
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.preflight import Plan

log = logging.getLogger(__name__)
_FOREVER = 365 * 24 * 3600.0


def train(cfg: DictConfig, *, folder: Path | None = None) -> dict[str, float]:
    """Train in this process, test the best checkpoint, and leave everything in the run folder.

    Returns the best checkpoint's metrics on the validation and the test split, by name. Raises a
    TrainerError, or Stopped on a signal; whatever is raised, `summary.json` says how the run ended.
    """
    plan = preflight(cfg)
    cfg = settle(cfg)
    files = RunFolder(folder)
    finished = finished_metrics(cfg, files)
    if finished is not None:
        return finished
    with StopSignals() as signals, torch_settings(cfg), nags_silenced(), files.claimed():
        try:
            start = start_at(files.path, choose_checkpoint(files.path, cfg.resume))
        except (TrainerError, Stopped) as error:
            files.refuse(_status(error), _told(error))
            raise
        run = _Run(cfg, files, start, plan=plan)
        try:
            run.work(signals)
        except BaseException as error:
            run.abandon(error)
            raise
    return run.metrics


def train_in_group(
    cfg: DictConfig, *, folder: Path, group: Group, control: ControlFolder
) -> dict[str, float]:
    """`train`, as one process of several that all call this.

    The launcher has begun the summary, and ends it if this fails for another reason than a stop.
    """
    plan = preflight(cfg)
    with (
        StopSignals(patient=True) as signals,
        torch_settings(cfg),
        nags_silenced(),
        group.joined(accelerator=plan.accelerator, timeout=cfg.trainer.hang_timeout or _FOREVER),
    ):
        files = RunFolder(folder)
        check_shared(files.path, group)
        chosen = choose_together(cfg.resume, files, group, cause=control.cause)
        start = start_at(files.path, chosen)
        run = _Run(cfg, files, start, plan=plan, group=group, control=control)
        try:
            run.work(signals)
        except Stopped as error:
            run.abandon(error)
            raise
    return run.metrics


def settle(cfg: DictConfig) -> DictConfig:
    """The config with nothing left open: interpolations resolved, enums as names, a name."""
    settled = OmegaConf.create(plain(cfg))
    settled.name = run_name(cfg)
    return settled


class _Run:
    """The parts of one run, made one after the other. Only the main process keeps records."""

    def __init__(
        self,
        cfg: DictConfig,
        files: RunFolder,
        start: Start,
        *,
        plan: Plan,
        group: Group | None = None,
        control: ControlFolder | None = None,
    ) -> None:
        self.cfg = cfg
        self.files = files
        self.start = start
        self.plan = plan
        self.group = group or Group()
        self.control = control
        self.metrics: dict[str, float] = {}
        self.records = RunRecords(files)
        self.manager: CheckpointManager = make_checkpoint_manager(
            cfg, files.checkpoints, resumed_from=start.checkpoint if start.own else None
        )
        self.began = time.perf_counter()
        self.data: DataModule
        self.module: LightningModel
        self.trainer: pl.Trainer

    def work(self, signals: StopSignals) -> None:
        """From the data to the records."""
        with running_out_explained():
            self.prepare(signals)
            self.fit()
            self.test()
        self.close()

    def prepare(self, signals: StopSignals) -> None:
        """Everything that is needed before the first step."""
        checkpoint = self.start.checkpoint
        if checkpoint is None and self.cfg.data.batch_size != AUTO_SIZE:
            self._open_records()
            self._make_module()
        else:
            # A checkpoint that is refused leaves the records of the run before as they are, and
            # the batch size that is found is one of the parameters on record.
            self._make_module()
            same = True
            if checkpoint is not None:
                notice = partial(self._notice, "data_changed")
                same = check_resumable(checkpoint, self.module.card, notice=notice)
            self._open_records(same=same)
        self.module.card["run_id"] = self.records.run_id
        self.module.performance = measure(
            self.cfg,
            self.module.model,
            accelerator=self.plan.accelerator,
            group=self.group,
            loggers=self.records.speed_loggers,
        )
        if self.group.is_main:
            self.records.describe(self.data)
        if self.cfg.callbacks.save_last or self.cfg.callbacks.save_best:
            check_space(
                self.files.checkpoints,
                self.module,
                kept=self.cfg.callbacks.keep_last + 2,  # the best, and the one being written
                copies=3 + 2 * (self.cfg.callbacks.ema_decay is not None),
            )
        self.trainer = make_trainer(
            self.cfg,
            self.data,
            accelerator=self.plan.accelerator,
            folder=self.files.path,
            loggers=self.records.loggers,
            signals=signals,
            manager=self.manager,
            group=self.group,
            control=self.control,
        )

    def fit(self) -> None:
        """Train, from zero or from a checkpoint."""
        checkpoint = self.start.checkpoint
        if checkpoint is not None and self.group.is_main:
            step = read_description(checkpoint)["step"]
            log.info("going on from %s, step %s", checkpoint, step)
            record(self.files.path, "resume", checkpoint=str(checkpoint), step=step)
        self.trainer.fit(
            self.module, datamodule=self.data, ckpt_path=str(checkpoint) if checkpoint else None
        )

    def test(self) -> None:
        """Bring the best weights back, and look at data never seen before."""
        best = self.group.broadcast(self.manager.whole_best() if self.group.is_main else None)
        if best is not None:
            checkpoint = read_checkpoint(best)
            load_weights(self.module, checkpoint["state_dict"])
            self.metrics = dict(checkpoint[KEY]["metrics"])
        if len(self.data.splits.test):
            self.trainer.test(self.module, datamodule=self.data, verbose=False)
            self.metrics |= self.module.evaluated
        if self.group.is_main:
            write_predictions(self.module, self.data, self.files)

    def close(self) -> None:
        """Leave the records of a run that came to its end."""
        if self.group.is_main:
            self._summarize(FINISHED)
            self.records.finish(self.cfg, self.manager)

    def abandon(self, error: BaseException) -> None:
        """Leave what there is; nothing that fails here may hide `error`. A run that was stopped
        when all that was left was to send its records stays finished.
        """
        sending = self.files.summary.get("status") == FINISHED and _status(error) == STOPPED
        if sending or not self.group.is_main:
            return
        try:
            self._end_records(_status(error), _told(error))
        except (TrainerError, Stopped, OSError) as second:  # the disk may be full
            log.warning("%s", second)

    def _end_records(self, status: str, error: str) -> None:
        if not self.records.is_open:
            if self.group.is_alone:  # else the launcher knows what was here before
                self.files.refuse(status, error)
            return
        try:
            try:
                record(self.files.path, ENDS[status], step=self._step, error=error)
            finally:  # a full disk may refuse the event, and take the status
                self._summarize(status, error=error)
        finally:
            self.records.end(status)

    def _open_records(self, *, same: bool = True) -> None:
        if self.group.is_main:
            self.records.open(self.cfg, self.start, same=same)

    def _make_module(self) -> None:
        search = self.cfg.data.batch_size == AUTO_SIZE
        if search:
            earlier = earlier_batch_size(self.start.checkpoint)
            search = earlier is None
            self.cfg.data.batch_size = earlier or self.group.world_size
        self.data = set_up_data(self.cfg, assets_dir=self.files.assets, group=self.group)
        if search:
            self._find_batch_size()
        notice = partial(record, self.files.path, "out_of_memory")
        self.module = make_module(self.cfg, self.data, group=self.group, notice=notice)

    def _find_batch_size(self) -> None:
        # Not the run's own module, and one that waits for no other process.
        module = make_module(self.cfg, self.data, group=Group())
        size = find_batch_size(self.cfg, self.data, module, plan=self.plan, group=self.group)
        self.cfg.data.batch_size = size
        self.data.set_batch_size(size)

    def _notice(self, kind: str, **fields: Any) -> None:
        """An event that all processes meet, and one records."""
        if self.group.is_main:
            record(self.files.path, kind, **fields)

    @property
    def _step(self) -> int:
        """Steps behind this run; Lightning knows those of its checkpoint only when it fits."""
        behind = self.start.step or 0
        return max(behind, self.trainer.global_step) if hasattr(self, "trainer") else behind

    def _summarize(self, status: str, **fields: Any) -> None:
        best, last = self.manager.best, self.manager.last
        self.files.summarize(
            status=status,
            run_id=self.records.run_id,
            best_checkpoint=str(best) if best else None,
            last_checkpoint=str(last) if last else None,
            steps=self._step,
            metrics=self.metrics,
            seconds=round(time.perf_counter() - self.began, 2),
            **fields,
        )


def _status(error: BaseException) -> str:
    return STOPPED if isinstance(error, Stopped | KeyboardInterrupt) else FAILED


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
