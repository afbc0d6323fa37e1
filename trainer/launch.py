"""DistributedTrainer: how many processes a run takes, and who starts them.

One process trains right here. More are started by torchrun's agent: see
`trainer/launching/workers.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.loading import loading
from trainer.disk import check_folder
from trainer.preflight import Plan, preflight

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig


class DistributedTrainer:
    """Runs one config."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg

    def preflight(self, folder: Path) -> Plan:
        """Where the run will compute. Raises PreflightError, before any work, if it cannot."""
        plan = preflight(self._cfg)
        check_folder(folder)
        return plan

    def run(self, folder: Path) -> dict[str, float]:
        """Train, and test the best checkpoint; the metrics."""
        plan = self.preflight(folder)
        # Lightning takes seconds to load: what preflight refuses is answered without it.
        if plan.world_size == 1:
            with loading():
                from trainer.run import train

            return train(self._cfg, folder=folder)
        from trainer.launching.workers import train_in_workers

        return train_in_workers(self._cfg, plan, folder=folder)
