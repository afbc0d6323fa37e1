"""The study on disk: Optuna's record of the trials, with the sampler and pruner of the config."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import Trial

from trainer.errors import ConfigError
from trainer.schema import Direction
from trainer.sweep.schema import PrunerName, SamplerName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from omegaconf import DictConfig
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

    from trainer.sweep.space import Space

DATABASE = "study.db"
_NAME = "sweep"
_LOCKED_SECONDS = 60
"""How long to wait for the database while something else reads it."""
_DIRECTIONS = {
    Direction.max: StudyDirection.MAXIMIZE,
    Direction.min: StudyDirection.MINIMIZE,
}
_SPACE = "space"
_METRICS = "metrics"


class _Grid(GridSampler):
    """Whose end is the runner's business: Optuna's own would stop a loop that is not there."""

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        pass


def objectives(cfg: DictConfig) -> dict[str, Direction]:
    """Metric → direction, the main one first."""
    return {
        str(cfg.metric): Direction(cfg.direction),
        **{str(name): Direction(direction) for name, direction in cfg.also.items()},
    }


def open_study(folder: Path, cfg: DictConfig, space: Space, *, validations: int | None) -> Study:
    """The study of this folder: a new one, or the one of an earlier start.

    `validations`: of a whole trial, if known. Raises ConfigError if the study in the folder has
    another space or other objectives.
    """
    _quiet()
    goals = objectives(cfg)
    if len(goals) > 1 and cfg.pruner.name != PrunerName.none:
        raise ConfigError(
            f"sweep/pruner={cfg.pruner.name}: no trial can be ended early with several objectives",
            field="sweep.pruner",
            remedy="use sweep/pruner=none, or sweep.also={}",
        )
    storage = RDBStorage(
        f"sqlite:///{folder / DATABASE}",
        engine_kwargs={"connect_args": {"timeout": _LOCKED_SECONDS}},
    )
    pruner = _pruner(cfg.pruner, validations=validations)
    if _NAME in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=_NAME, storage=storage, pruner=pruner)
    else:
        directions = [_DIRECTIONS[direction] for direction in goals.values()]
        study = optuna.create_study(
            study_name=_NAME, storage=storage, pruner=pruner, directions=directions
        )
    _check_same(study, space, goals, folder)
    study.sampler = _sampler(cfg.sampler, space, before=len(study.get_trials(deepcopy=False)))
    return study


def resume_trial(study: Study, number: int) -> Trial:
    """A trial that was begun, and never told: its values are kept."""
    storage: Any = study._storage  # noqa: SLF001 - Optuna has no other way back to a begun trial
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study._study_id, number))  # noqa: SLF001


def trial_count(cfg: DictConfig, space: Space) -> int:
    """How many trials the study has in the end; a grid has no more than it has points."""
    wanted = int(cfg.trials)
    if cfg.sampler.name != SamplerName.grid:
        return wanted
    size = 1
    for values in space.grid().values():
        size *= len(values)
    return min(wanted, size)


def _check_same(study: Study, space: Space, goals: Mapping[str, Direction], folder: Path) -> None:
    wanted = {
        _SPACE: space.to_dict(),
        _METRICS: {name: direction.value for name, direction in goals.items()},
    }
    fields = {_SPACE: "sweep.space", _METRICS: "sweep.metric, sweep.direction, sweep.also"}
    for name, value in wanted.items():
        if name not in study.user_attrs:
            study.set_user_attr(name, value)
        elif study.user_attrs[name] != value:
            raise ConfigError(
                f"{fields[name]}: not those of the sweep in {folder}, whose trials would not"
                " compare with the new ones",
                field=fields[name].split(",")[0],
                remedy="repeat its command, or use another hydra.sweep.dir",
            )


def _sampler(cfg: DictConfig, space: Space, *, before: int) -> BaseSampler:
    """`before`: trials of earlier starts, whose random numbers must not come again."""
    name, seed = SamplerName(cfg.name), int(cfg.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name is SamplerName.tpe:
            return TPESampler(
                seed=seed + before, n_startup_trials=cfg.startup, multivariate=cfg.multivariate
            )
        if name is SamplerName.random:
            return RandomSampler(seed=seed + before)
        if name is SamplerName.grid:
            return _Grid(space.grid(), seed=seed)
        if name is SamplerName.qmc:
            return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        return _cmaes(cfg, seed=seed + before)


def _cmaes(cfg: DictConfig, *, seed: int) -> BaseSampler:
    if importlib.util.find_spec("cmaes") is None:  # Optuna asks for it in the second trial only
        raise ConfigError(
            "sweep/sampler=cmaes: the package cmaes is not installed",
            field="sweep.sampler",
            remedy="pip install cmaes, or use sweep/sampler=tpe",
        )
    return CmaEsSampler(seed=seed, n_startup_trials=cfg.startup, warn_independent_sampling=False)


def _pruner(cfg: DictConfig, *, validations: int | None) -> BasePruner:
    name = PrunerName(cfg.name)
    if name is PrunerName.median:
        return MedianPruner(n_startup_trials=cfg.startup, n_warmup_steps=cfg.warmup)
    if name is PrunerName.hyperband:
        return HyperbandPruner(
            min_resource=cfg.min_validations,
            max_resource=cfg.max_validations or validations or "auto",
            reduction_factor=cfg.reduction,
        )
    return NopPruner()


def _quiet() -> None:
    """Optuna's lines would repeat ours."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("alembic").setLevel(logging.WARNING)
