"""Every field of a sweep, with its type, default and meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from trainer.schema import Direction


class SamplerName(StrEnum):
    """Who chooses the values of the next trial."""

    tpe = "tpe"
    random = "random"
    grid = "grid"
    cmaes = "cmaes"
    qmc = "qmc"


class PrunerName(StrEnum):
    """Who ends a trial that promises nothing."""

    none = "none"
    median = "median"
    hyperband = "hyperband"


@dataclass
class SamplerConfig:
    """What every sampler has."""

    name: SamplerName = MISSING
    seed: int = 0
    """Fixes what is sampled, as long as trials run one after the other."""


@dataclass
class TpeConfig(SamplerConfig):
    """Tree-structured Parzen estimator: learns where good values lie."""

    name: SamplerName = SamplerName.tpe
    startup: int = 10
    """Trials that are sampled at random before the estimator is asked."""
    multivariate: bool = False
    """Look at the fields together, not one by one."""


@dataclass
class RandomConfig(SamplerConfig):
    """Independent random values."""

    name: SamplerName = SamplerName.random


@dataclass
class GridConfig(SamplerConfig):
    """Every combination once; needs `choice` or `range` for every field."""

    name: SamplerName = SamplerName.grid


@dataclass
class CmaesConfig(SamplerConfig):
    """Covariance matrix adaptation, for numbers; needs the package `cmaes`."""

    name: SamplerName = SamplerName.cmaes
    startup: int = 1
    """Trials that are sampled at random first."""


@dataclass
class QmcConfig(SamplerConfig):
    """A scrambled Sobol sequence: random values that leave no gaps."""

    name: SamplerName = SamplerName.qmc


@dataclass
class PrunerConfig:
    """What every pruner has."""

    name: PrunerName = MISSING


@dataclass
class NoPrunerConfig(PrunerConfig):
    """Every trial runs to its end."""

    name: PrunerName = PrunerName.none


@dataclass
class MedianConfig(PrunerConfig):
    """Ends a trial whose best value so far is worse than the median of the others there."""

    name: PrunerName = PrunerName.median
    startup: int = 5
    """Trials that must be complete before any is ended."""
    warmup: int = 1
    """Validations of a trial before it may be ended."""


@dataclass
class HyperbandConfig(PrunerConfig):
    """Successive halving in several brackets (https://arxiv.org/abs/1603.06560)."""

    name: PrunerName = PrunerName.hyperband
    min_validations: int = 1
    """What a trial gets at least."""
    max_validations: int | None = None
    """What a whole trial has; null: `trainer.max_epochs` divided by `trainer.val_every`."""
    reduction: int = 3
    """One of so many trials goes on from each rung."""


@dataclass
class SweepConfig:
    """What is varied, what counts as better, and when the study ends."""

    space: dict[str, str] = field(default_factory=dict)
    """Field or config group → its values, in Hydra's grammar: `choice(…)`, `range(…)`,
    `interval(…)`, `tag(log, interval(…))`. The same on the command line goes in front of these."""
    metric: str = "val/accuracy"
    """What to improve: a metric of metrics.csv, or `seconds` or `steps`; see GOALS."""
    direction: Direction = Direction.max
    also: dict[str, Direction] = field(default_factory=dict)
    """Further objectives (`+sweep.also.seconds=min`); the result is then a Pareto front."""
    trials: int = 20
    """Trials in the study in all: also those of an earlier start, and failed and pruned ones."""
    jobs: int = 1
    """Trials that run at the same time on this machine."""
    max_failures: int = 5
    """More failed trials than this end the sweep (counted from its latest start); -1: any number
    may fail."""
    stop_seconds: float = 90.0
    """How long a trial that is to end may take to save its state, before it is killed."""
    sampler: Any = MISSING
    pruner: Any = MISSING


SCHEMAS: dict[str, dict[str, type]] = {
    "sweep": {"base_sweep": SweepConfig},
    "sweep/sampler": {
        "base_cmaes": CmaesConfig,
        "base_grid": GridConfig,
        "base_qmc": QmcConfig,
        "base_random": RandomConfig,
        "base_tpe": TpeConfig,
    },
    "sweep/pruner": {
        "base_hyperband": HyperbandConfig,
        "base_median": MedianConfig,
        "base_none": NoPrunerConfig,
    },
}
"""Group → name → dataclass: what the YAML files in `conf/sweep` start from."""


def register_sweep_schemas() -> None:
    """Make the dataclasses known to Hydra; harmless when called again."""
    store = ConfigStore.instance()
    for group, nodes in SCHEMAS.items():
        for name, node in nodes.items():
            store.store(group=group, name=name, node=node)
