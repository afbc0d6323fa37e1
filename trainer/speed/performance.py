"""Performance: what a run records about its own speed, every `log_every` steps and every epoch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from trainer.metrics.metrics_file import MetricsFile
from trainer.schema import PrecisionName
from trainer.speed.model_flops import ModelFlops
from trainer.speed.peak import peak_tflops
from trainer.speed.system_metrics import SystemMetrics
from trainer.speed.throughput import StepClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from omegaconf import DictConfig
    from pytorch_lightning.loggers import Logger
    from torch import nn

    from trainer.parallel.group import Group
    from trainer.speed.throughput import Window

log = logging.getLogger(__name__)
_TERA = 1e12
_ALL = 1 << 62


class Performance:
    """Asked by the LightningModel at each batch. In every process; only the main one records.

    Nothing that it computes reaches the training, and nothing that it records is compared.
    """

    def __init__(
        self,
        *,
        flops: ModelFlops | None = None,
        peak: float | None = None,
        system: SystemMetrics | None = None,
        loggers: tuple[Logger, ...] = (),
    ) -> None:
        """`peak`: of all devices together, in 10^12 operations a second."""
        self.clock = StepClock()
        self._model_flops = flops
        self._flops: float | None = None
        self._peak = peak
        self._system = system
        self._loggers = loggers
        self._step = 0
        self._epoch_seconds = 0.0
        self._epoch_samples = 0

    def begin(self) -> None:
        """The next batch is here."""
        self.clock.begin()

    def end(self, batch: Mapping[str, Any], *, step: int) -> None:
        """This batch is trained on; `step`: how often the weights have moved."""
        self.clock.end(batch, stepped=step != self._step)
        self._step = step

    def begin_epoch(self) -> None:
        self._epoch_seconds, self._epoch_samples = 0.0, 0
        self.clock.skip()

    def record(self, batch: Mapping[str, Any] | None, *, step: int) -> None:
        """Record the window since the last record; `batch`: to count the model's operations on."""
        window = self.clock.read()
        if window is None:
            return
        self._epoch_seconds += window.total
        self._epoch_samples += window.samples
        if self._loggers:
            values = window.metrics() | self._model(window, batch)
            if self._system is not None:
                values |= self._system.read()
            self._log(values, step)
        self.clock.skip()

    def end_epoch(self, *, step: int) -> None:
        """Record the epoch, or as much of it as this process has trained."""
        if self._epoch_seconds and self._loggers:
            rate = self._epoch_samples / self._epoch_seconds
            self._log({"time/epoch": self._epoch_seconds, "throughput/epoch_samples": rate}, step)

    def _model(self, window: Window, batch: Mapping[str, Any] | None) -> dict[str, float]:
        if self._model_flops is not None and batch is not None:
            try:
                self._flops = self._model_flops.count(batch)
            except Exception as error:  # noqa: BLE001 - a model of any kind; a number less
                log.warning("the model's operations cannot be counted: %s", error)
            self._model_flops = None
        if not self._flops:
            return {}
        rate = self._flops * (window.tokens or window.samples) / window.total / _TERA
        found = {"throughput/tflops": rate}
        return found | ({"throughput/mfu": rate / self._peak} if self._peak else {})

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self._loggers:
            logger.log_metrics(values, step=step)  # type: ignore[arg-type]  # only read


class PerformanceFile(MetricsFile):
    """`performance.csv`. A run that goes on keeps what it measured the first time."""

    def __init__(self, path: Path, *, resumed: bool, back_to: int | None = None) -> None:
        """`back_to`: an earlier step than its last, from which it goes on elsewhere."""
        kept = _ALL if back_to is None else back_to
        super().__init__(path, resumed_at=kept if resumed else None)
        self._measured: dict[str, int] = {}
        for row in self.rows:
            self._measured[row.name] = max(row.step, self._measured.get(row.name, 0))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = step or 0
        new = {k: v for k, v in metrics.items() if at > self._measured.get(k, -1)}
        super().log_metrics(new, step=at)


def measure(
    cfg: DictConfig,
    model: nn.Module,
    *,
    accelerator: str,
    group: Group,
    loggers: tuple[Logger, ...],
) -> Performance:
    """What this process is to record of the run; `model`: before anything is done to it."""
    if not loggers:
        return Performance()
    gpu = group.local_rank if accelerator == "gpu" else None
    peak = cfg.trainer.peak_tflops
    if peak is None and gpu is not None:
        name = torch.cuda.get_device_name(gpu)
        peak = peak_tflops(name, PrecisionName(cfg.precision.name))
    return Performance(
        flops=ModelFlops(model),
        peak=None if peak is None else peak * group.world_size,
        system=SystemMetrics(gpu=gpu),
        loggers=loggers,
    )
