"""What `train.py` does: compose, train, say what came of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from bundle.loading import loading
from trainer.compose import hydra_command, is_sweep, run_folder
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    """Train what `sys.argv` asks for."""
    logging.raiseExceptions = False  # a full disk ends the run in one line, not in the log's many
    hydra_command("train", _train, schemas=register_schemas)()


def _train(cfg: DictConfig) -> dict[str, float]:
    # A wrong config is answered before torch and Lightning are loaded, which takes seconds.
    with loading():
        from trainer.launch import DistributedTrainer

    folder = run_folder()
    if is_sweep():
        with open_dict(cfg.tracking.tags):
            cfg.tracking.tags["sweep"] = str(HydraConfig.get().sweep.dir)
    metrics = DistributedTrainer(cfg).run(folder)
    _print(metrics, folder)
    return metrics


def _print(metrics: dict[str, float], folder: Path) -> None:
    """The result on stdout; everything else goes to stderr and the log."""
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    rows = {name: f"{value:.4f}" for name, value in sorted(metrics.items())}
    rows["run folder"] = str(shown)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
