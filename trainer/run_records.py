"""RunRecords: what a run writes down about itself while it trains, in its folder and on MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from trainer.build import plain
from trainer.checkpoints.resume import leave_others_behind
from trainer.metrics.metrics_file import MetricsFile
from trainer.records import begin_tracking, record_environment, store_files, store_tables
from trainer.report.leave import leave_report
from trainer.run_folder import FINISHED
from trainer.speed.performance import PerformanceFile
from trainer.tracking.tracker import ExperimentTracker

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning.loggers import Logger

    from trainer.checkpoints.manager import CheckpointManager
    from trainer.checkpoints.resume import Start
    from trainer.data.module import DataModule
    from trainer.run_folder import RunFolder


class RunRecords:
    """Opened by the main process alone; in the others it takes nothing and has no loggers."""

    def __init__(self, files: RunFolder) -> None:
        self._files = files
        self._tracker = ExperimentTracker()
        self._metrics: MetricsFile | None = None
        self._timings: PerformanceFile | None = None

    @property
    def is_open(self) -> bool:
        """Whether the folder is this run's."""
        return self._timings is not None

    @property
    def run_id(self) -> str:
        """See ExperimentTracker: it may change while the run is open."""
        return self._tracker.run_id

    @property
    def loggers(self) -> list[Logger]:
        """Of what the model learns."""
        return [] if self._metrics is None else [self._metrics, self._tracker]

    @property
    def speed_loggers(self) -> tuple[Logger, ...]:
        """Of how fast it does."""
        return () if self._timings is None else (self._timings, self._tracker)

    def open(self, cfg: DictConfig, start: Start, *, same: bool) -> None:
        """From here on the folder is this run's. `same`: what it has recorded after its checkpoint
        comes again as it was.
        """
        files = self._files
        # After a restart the launcher's summary has the run id, also before the first checkpoint.
        run_id = start.run_id or files.summary.get("run_id")
        restarts = files.summary.get("restarts", 0)
        tracker = self._tracker = begin_tracking(cfg, files, run_id=run_id)
        files.write_config(OmegaConf.to_yaml(cfg))
        files.begin(name=cfg.name)
        files.forget_results()
        files.summarize(run_id=tracker.run_id, steps=start.step or 0, restarts=restarts)
        left = leave_others_behind(files.path, start)
        back_to = start.step if left or not same else None
        if back_to is not None:
            tracker.go_back(back_to)
        self._metrics = MetricsFile(files.metrics, resumed_at=start.step)
        self._timings = PerformanceFile(
            files.performance, resumed=start.step is not None, back_to=back_to
        )
        tracker.log_params(plain(cfg))
        tracker.log_file(files.config)
        tracker.replay([*self._metrics.rows, *self._timings.rows])

    def describe(self, data: DataModule) -> None:
        """Code, machine, versions and data."""
        record_environment(self._tracker, data, self._files)

    def finish(self, cfg: DictConfig, manager: CheckpointManager) -> None:
        """Of a run that came to its end: with a report, pictures and its best checkpoint."""
        self._close()
        if cfg.trainer.report:
            leave_report(self._files.path)
        store_tables(self._tracker, self._files)
        store_files(self._tracker, self._files, manager, cfg)
        self._tracker.finish(FINISHED)
        self._files.summarize(run_id=self.run_id)  # which may have been made only now

    def end(self, status: str) -> None:
        """Of one that did not."""
        try:
            self._close()
            store_tables(self._tracker, self._files)
        finally:
            self._tracker.finish(status)

    def _close(self) -> None:
        for file in (self._metrics, self._timings):
            if file is not None:
                file.close()
