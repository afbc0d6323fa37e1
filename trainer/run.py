"""train(cfg): one run, from a config to a tested checkpoint and its records."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from bundle.errors import TrainyardError
from trainer.build import plain, run_name
from trainer.checkpoint import KEY, read_checkpoint, verify_checkpoint
from trainer.errors import Stopped, TrainerError
from trainer.group import Group
from trainer.metrics_file import MetricsFile
from trainer.preflight import check_space, preflight
from trainer.process import nags_silenced, torch_settings
from trainer.records import draw_pictures, record_environment, start_tracking, store_files
from trainer.resume import choose_checkpoint
from trainer.run_folder import FAILED, FINISHED, RUNNING, STOPPED, RunFolder
from trainer.setup import (
    check_resumable,
    make_checkpoint_manager,
    make_module,
    make_trainer,
    set_up_data,
)
from trainer.stop import StopSignals
from trainer.strategies import load_weights
from trainer.tracking import ExperimentTracker

if TYPE_CHECKING:
    from pathlib import Path

    import pytorch_lightning as pl

    from trainer.checkpoint_manager import CheckpointManager
    from trainer.control import ControlFolder
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel

log = logging.getLogger(__name__)
_FOREVER = 365 * 24 * 3600.0


def train(cfg: DictConfig, *, folder: Path | None = None) -> dict[str, float]:
    """Train in this process, test the best checkpoint, and leave everything in the run folder.

    Returns the best checkpoint's metrics on the validation and the test split, by name. Raises a
    TrainerError; whatever is raised, `summary.json` says how the run ended.
    """
    plan = preflight(cfg)
    cfg = settle(cfg)
    files = RunFolder(folder)
    with StopSignals() as signals, torch_settings(cfg), nags_silenced():
        tracker = start_tracking(cfg)
        files.write_config(OmegaConf.to_yaml(cfg))
        files.begin(name=cfg.name)
        files.summarize(run_id=tracker.run_id)
        resume = choose_checkpoint(files.checkpoints, cfg.resume or "never")
        run = _Run(cfg, files, tracker, resume=resume, accelerator=plan.accelerator)
        try:
            run.prepare(signals)
            run.fit()
            run.test()
            run.close(FINISHED)
        except BaseException as error:
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            run.abandon(STOPPED if stopped else FAILED, error)
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
        tracker, resume = _start_or_continue(cfg, files, group)
        run = _Run(
            cfg,
            files,
            tracker,
            resume=resume,
            accelerator=plan.accelerator,
            group=group,
            control=control,
        )
        try:
            run.prepare(signals)
            run.fit()
            run.test()
            if group.is_main:
                run.close(FINISHED)
        except Stopped as error:
            if group.is_main:
                run.abandon(STOPPED, error)
            raise
    return run.metrics


def _start_or_continue(
    cfg: DictConfig, files: RunFolder, group: Group
) -> tuple[ExperimentTracker, Path | None]:
    """The tracker, which records in the main process only, and where to go on from, for all.

    Whether this is a restart is told by the run folder: an agent knows only its own restarts.
    """
    found: tuple[ExperimentTracker, Path | None] | TrainyardError
    tracker = ExperimentTracker()
    try:
        restarted = files.summary.get("run_id") is not None
        resume = "auto" if restarted else cfg.resume or "never"
        chosen = choose_checkpoint(files.checkpoints, resume) if group.is_main else None
        if restarted and chosen is None and cfg.resume and group.is_main:
            chosen = choose_checkpoint(files.checkpoints, cfg.resume)
        if group.is_main:
            tracker = start_tracking(cfg, run_id=files.summary.get("run_id"))
            restarts = int(files.summary.get("restarts", 0)) + int(restarted)
            files.summarize(status=RUNNING, run_id=tracker.run_id, restarts=restarts)
            if restarted:
                log.info("going on from %s", chosen or "the start: there is no checkpoint yet")
        found = (tracker, chosen)
    except TrainyardError as error:
        found = error
    error_or_path = group.broadcast(found if isinstance(found, TrainyardError) else found[1])
    if isinstance(error_or_path, TrainyardError):
        raise error_or_path
    return tracker, error_or_path


def settle(cfg: DictConfig) -> DictConfig:
    """The config with nothing left open: interpolations resolved, enums as names, a name."""
    settled = OmegaConf.create(plain(cfg))
    settled.name = run_name(cfg)
    return settled


class _Run:
    """The parts of one run, made one after the other."""

    def __init__(
        self,
        cfg: DictConfig,
        files: RunFolder,
        tracker: ExperimentTracker,
        *,
        resume: Path | None,
        accelerator: str,
        group: Group | None = None,
        control: ControlFolder | None = None,
    ) -> None:
        self.cfg = cfg
        self.files = files
        self.tracker = tracker
        self.resume = resume
        self.accelerator = accelerator
        self.group = group or Group()
        self.control = control
        self.metrics: dict[str, float] = {}
        self.record: MetricsFile | None = None
        if self.group.is_main:
            restarted = resume is not None and resume.is_relative_to(files.checkpoints)
            up_to = int(verify_checkpoint(resume)["step"]) if resume and restarted else None
            self.record = MetricsFile(files.metrics, up_to=up_to)
        self.manager: CheckpointManager = make_checkpoint_manager(cfg, files.checkpoints)
        self.began = time.perf_counter()
        self.data: DataModule
        self.module: LightningModel
        self.trainer: pl.Trainer

    def prepare(self, signals: StopSignals) -> None:
        """Everything that is needed before the first step."""
        if self.group.is_main:
            self.tracker.log_params(plain(self.cfg))
            self.tracker.log_file(self.files.config)
        self.data = set_up_data(self.cfg, assets_dir=self.files.assets, group=self.group)
        if self.group.is_main:
            record_environment(self.tracker, self.data)
        self.module = make_module(self.cfg, self.data, run_id=self.tracker.run_id, group=self.group)
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
            accelerator=self.accelerator,
            folder=self.files.path,
            loggers=[self.record, self.tracker] if self.record is not None else [],
            signals=signals,
            manager=self.manager,
            group=self.group,
            control=self.control,
        )

    def fit(self) -> None:
        """Train, from the start or from where an earlier run got to."""
        resume = self.resume
        if resume is not None:
            check_resumable(resume, self.module.card)
        self.trainer.fit(
            self.module, datamodule=self.data, ckpt_path=str(resume) if resume else None
        )

    def test(self) -> None:
        """Bring the best weights back, and look at data never seen before."""
        best = self.manager.best or self.manager.last
        if best is not None:
            checkpoint = read_checkpoint(best)
            load_weights(self.module, checkpoint["state_dict"])
            self.metrics = dict(checkpoint[KEY]["metrics"])
        if len(self.data.splits.test):
            self.trainer.test(self.module, datamodule=self.data, verbose=False)
            self.metrics |= self.module.evaluated

    def close(self, status: str) -> None:
        """Leave the records of a run that came to its end."""
        self._summarize(status)
        assert self.record is not None  # noqa: S101 - the main process closes
        draw_pictures(self.record, self.module, self.data, self.files, title=self.cfg.name)
        self.record.close()
        store_files(self.tracker, self.files, self.manager, self.cfg)
        self.tracker.finish(status)

    def abandon(self, status: str, error: BaseException) -> None:
        """Leave what there is; nothing that fails here may hide `error`."""
        self._summarize(status, error=f"{type(error).__name__}: {error}")
        if self.record is not None:
            self.record.close()
        try:
            self.tracker.finish(status)
        except TrainerError as second:
            log.warning("%s", second)

    def _summarize(self, status: str, **fields: Any) -> None:
        best, last = self.manager.best, self.manager.last
        self.files.summarize(
            status=status,
            best_checkpoint=str(best) if best else None,
            last_checkpoint=str(last) if last else None,
            steps=self.trainer.global_step if hasattr(self, "trainer") else 0,
            metrics=self.metrics,
            seconds=round(time.perf_counter() - self.began, 2),
            **fields,
        )
