"""DistributedTrainer: how many processes a run takes, and who starts them.

One process for now. More will be started here, each reading the config that was composed once and
written to the run folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.errors import PreflightError
from trainer.preflight import Plan, preflight

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig


class DistributedTrainer:
    """Runs one config."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg

    def preflight(self) -> Plan:
        """Where the run will compute. Raises PreflightError, before any work, if it cannot."""
        plan = preflight(self._cfg)
        if plan.world_size > 1:
            raise PreflightError(
                f"trainer.devices={plan.devices}, trainer.num_nodes={plan.nodes}:"
                " training in several processes is not supported yet",
                field="trainer.devices",
                remedy="use trainer.devices=1 trainer.num_nodes=1",
            )
        return plan

    def run(self, folder: Path) -> dict[str, float]:
        """Train, and test the best checkpoint; the metrics."""
        self.preflight()
        # Lightning takes seconds to load: what preflight refuses is answered without it.
        from trainer.run import train

        return train(self._cfg, folder=folder)
