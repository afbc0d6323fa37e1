"""How the processes of a group share the work of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning.strategies import Strategy

    from trainer.group import Group


def make_strategy(cfg: DictConfig, group: Group) -> Strategy | str:
    """What `strategy` asks for; one process alone needs none."""
    if group.is_alone:
        return "auto"
    return DDPStrategy(
        cluster_environment=TorchElasticEnvironment(),
        find_unused_parameters=cfg.strategy.find_unused_parameters,
        # Broadcasting buffers in every forward pass would wait for a process with one validation
        # batch less than the others. See trainer/batchnorm.py for what keeps them equal.
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )
