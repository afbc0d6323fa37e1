"""What `export.py` does with its composed config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from optimize.optimizer import ModelOptimizer
from optimize.progress import StageProgress
from optimize.report import report
from optimize.schema import check
from trainer.stop import StopSignals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from optimize.schema import ExportConfig


def export(cfg: DictConfig) -> None:
    """Run the export; on stdout its table, and the bundle's path as the last line."""
    config: ExportConfig = OmegaConf.to_object(cfg)  # type: ignore[assignment]
    check(config)
    with StopSignals():
        outcome = ModelOptimizer(config, progress=StageProgress()).run()
    print(report(outcome))
    print(outcome.bundle.path, flush=True)
