"""Hydra's door to trainer.sweep: Hydra accepts sweepers from the namespace hydra_plugins only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

from trainer.sweep.schema import register_sweep_schemas

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

# Hydra imports its plugins before it composes, and they bring their schemas with them.
register_sweep_schemas()


class TrainyardSweeper(Sweeper):
    """`sweep=optuna`: a study of trials, each in a process of its own."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,  # noqa: ARG002 - a trial is a process, not a call
        config: DictConfig,
    ) -> None:
        self._loader = hydra_context.config_loader
        self._config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study; `arguments` are the command line's overrides."""
        from trainer.sweep.command import sweep  # every command of ours imports this module

        return sweep(self._config, arguments, loader=self._loader)
