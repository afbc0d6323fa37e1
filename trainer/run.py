"""train(cfg): one run, from a config to a tested checkpoint and its records."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from trainer.build import build_data, data_name, plain, run_name
from trainer.checkpoint import KEY, read_checkpoint
from trainer.errors import Stopped, TrainerError
from trainer.metrics_file import MetricsFile
from trainer.preflight import preflight
from trainer.process import nags_silenced, torch_settings
from trainer.records import draw_pictures, record_environment, start_tracking, store_files
from trainer.run_folder import FAILED, FINISHED, RUNNING, STOPPED, RunFolder
from trainer.setup import (
    check_resumable,
    make_checkpoint_manager,
    make_module,
    make_trainer,
    set_up_data,
)
from trainer.stop import StopSignals

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from trainer.checkpoint_manager import CheckpointManager
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.tracking import ExperimentTracker

log = logging.getLogger(__name__)


def train(cfg: DictConfig, *, folder: Path | None = None) -> dict[str, float]:
    """Train in this process, test the best checkpoint, and leave everything in the run folder.

    Returns the best checkpoint's metrics on the validation and the test split, by name. Raises a
    TrainerError; whatever is raised, `summary.json` says how the run ended.
    """
    plan = preflight(cfg)
    cfg = settle(cfg)
    files = RunFolder(folder)
    with StopSignals() as signals, torch_settings(cfg), nags_silenced():
        data = build_data(cfg, assets_dir=files.assets)
        tracker = start_tracking(cfg)
        files.write_config(OmegaConf.to_yaml(cfg))
        files.summarize(
            status=RUNNING,
            name=cfg.name,
            run_id=tracker.run_id,
            best_checkpoint=None,
            last_checkpoint=None,
            steps=0,
            metrics={},
        )
        run = _Run(cfg, files, tracker, data)
        try:
            run.prepare(signals, accelerator=plan.accelerator)
            run.fit()
            run.test()
            run.close(FINISHED)
        except BaseException as error:
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            run.abandon(STOPPED if stopped else FAILED, error)
            raise
    return run.metrics


def settle(cfg: DictConfig) -> DictConfig:
    """The config with nothing left open: interpolations resolved, enums as names, a name."""
    settled = OmegaConf.create(plain(cfg))
    settled.name = run_name(cfg)
    return settled


class _Run:
    """The parts of one run, made one after the other."""

    def __init__(
        self, cfg: DictConfig, files: RunFolder, tracker: ExperimentTracker, data: DataModule
    ) -> None:
        self.cfg = cfg
        self.data = data
        self.files = files
        self.tracker = tracker
        self.metrics: dict[str, float] = {}
        self.record = MetricsFile(files.metrics)
        self.manager: CheckpointManager = make_checkpoint_manager(cfg, files.checkpoints)
        self.began = time.perf_counter()
        self.module: LightningModel
        self.trainer: pl.Trainer

    def prepare(self, signals: StopSignals, *, accelerator: str) -> None:
        """Everything that is needed before the first step."""
        self.tracker.log_params(plain(self.cfg))
        self.tracker.log_file(self.files.config)
        set_up_data(self.data, name=data_name(self.cfg))
        record_environment(self.tracker, self.data)
        self.module = make_module(self.cfg, self.data, run_id=self.tracker.run_id)
        self.trainer = make_trainer(
            self.cfg,
            self.data,
            accelerator=accelerator,
            folder=self.files.path,
            loggers=[self.record, self.tracker],
            signals=signals,
            manager=self.manager,
        )

    def fit(self) -> None:
        """Train, from the start or from `resume`."""
        resume = Path(self.cfg.resume) if self.cfg.resume else None
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
            self.module.load_state_dict(checkpoint["state_dict"])
            self.metrics = dict(checkpoint[KEY]["metrics"])
        if len(self.data.splits.test):
            self.trainer.test(self.module, datamodule=self.data, verbose=False)
            self.metrics |= self.module.evaluated

    def close(self, status: str) -> None:
        """Leave the records of a run that came to its end."""
        self._summarize(status)
        draw_pictures(self.record, self.module, self.data, self.files, title=self.cfg.name)
        self.record.close()
        store_files(self.tracker, self.files, self.manager, self.cfg)
        self.tracker.finish(status)

    def abandon(self, status: str, error: BaseException) -> None:
        """Leave what there is; nothing that fails here may hide `error`."""
        self._summarize(status, error=f"{type(error).__name__}: {error}")
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
