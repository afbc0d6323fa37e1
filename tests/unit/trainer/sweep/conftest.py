from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from omegaconf import OmegaConf

from trainer.sweep.schema import MedianConfig, NoPrunerConfig, RandomConfig, SweepConfig
from trainer.sweep.space import Space, parse_space

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig


@pytest.fixture
def space() -> Space:
    """A rate and a width."""
    return parse_space(["optim.lr=tag(log, interval(1e-4, 1e-1))", "width=choice(8,16)"], {})


@pytest.fixture
def sweep_config() -> Callable[..., DictConfig]:
    """A sweep's config: random values, no pruner unless `pruner` is given."""

    def make(**fields: Any) -> DictConfig:
        parts = {"sampler": RandomConfig(), "pruner": NoPrunerConfig()} | fields
        config = OmegaConf.structured(SweepConfig(**parts))
        config.pruner = OmegaConf.structured(parts["pruner"])
        config.sampler = OmegaConf.structured(parts["sampler"])
        return config

    return make


@pytest.fixture
def median() -> MedianConfig:
    return MedianConfig(startup=1, warmup=0)
