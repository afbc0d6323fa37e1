from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from optuna.trial import TrialState

from trainer.errors import ConfigError
from trainer.schema import Direction
from trainer.sweep.pictures import draw_sweep, importances
from trainer.sweep.schema import (
    CmaesConfig,
    GridConfig,
    HyperbandConfig,
    QmcConfig,
    RandomConfig,
    TpeConfig,
)
from trainer.sweep.space import parse_space
from trainer.sweep.study import objectives, open_study, resume_trial, trial_count
from trainer.sweep.summary import summarize, sweep_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omegaconf import DictConfig

    from trainer.sweep.schema import MedianConfig, SamplerConfig
    from trainer.sweep.space import Space


@pytest.mark.parametrize("sampler", [RandomConfig(), TpeConfig(startup=2), QmcConfig()])
def test_study_goes_on_with_other_values_when_opened_again(
    sampler: SamplerConfig, tmp_path: Path, space: Space, sweep_config: Callable[..., DictConfig]
) -> None:
    seen = []
    for _ in range(2):
        study = open_study(tmp_path, sweep_config(sampler=sampler), space, validations=3)
        for _ in range(3):
            trial = study.ask()
            seen.append(space.suggest(trial)["optim.lr"])
            study.tell(trial, seen[-1])
    assert len(set(seen)) == 6
    assert [trial.params["optim.lr"] for trial in study.trials] == seen


def test_study_keeps_the_values_of_an_interrupted_trial(
    tmp_path: Path, space: Space, sweep_config: Callable[..., DictConfig]
) -> None:
    first = open_study(tmp_path, sweep_config(), space, validations=None)
    begun = space.suggest(first.ask())
    again = open_study(tmp_path, sweep_config(), space, validations=None)
    trial = resume_trial(again, 0)
    assert space.suggest(trial) == begun
    again.tell(trial, 0.5)
    assert [t.state for t in again.trials] == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"metric": "val/loss"}, "sweep.metric"), ({"direction": Direction.min}, "sweep.metric")],
)
def test_study_refuses_when_the_folder_has_another(
    fields: dict[str, object],
    said: str,
    tmp_path: Path,
    space: Space,
    sweep_config: Callable[..., DictConfig],
) -> None:
    open_study(tmp_path, sweep_config(), space, validations=None)
    with pytest.raises(ConfigError, match=said):
        open_study(tmp_path, sweep_config(**fields), space, validations=None)
    with pytest.raises(ConfigError, match=r"sweep\.space"):
        open_study(tmp_path, sweep_config(), parse_space(["x=1,2"], {}), validations=None)


def test_grid_takes_every_point_once_also_when_opened_again(
    tmp_path: Path, sweep_config: Callable[..., DictConfig]
) -> None:
    space = parse_space(["x=1,2", "y=range(0,3)"], {})
    config = sweep_config(sampler=GridConfig())
    assert trial_count(config, space) == 6
    points = []
    for _ in range(6):
        study = open_study(tmp_path, config, space, validations=None)
        trial = study.ask()
        points.append(tuple(space.suggest(trial).values()))
        study.tell(trial, 1.0)
    assert sorted(points) == [(x, y) for x in (1, 2) for y in (0, 1, 2)]


def test_study_explains_when_a_sampler_or_pruner_cannot_be_used(
    tmp_path: Path,
    space: Space,
    sweep_config: Callable[..., DictConfig],
    median: MedianConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = sweep_config(pruner=median, also={"seconds": Direction.min})
    with pytest.raises(ConfigError, match="no trial can be ended early"):
        open_study(tmp_path, two, space, validations=None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="cmaes is not installed"):
        open_study(tmp_path, sweep_config(sampler=CmaesConfig()), space, validations=None)


def test_pruners_end_the_worse_trial(
    tmp_path: Path, space: Space, sweep_config: Callable[..., DictConfig], median: MedianConfig
) -> None:
    for name, pruner in (("median", median), ("hyperband", HyperbandConfig(reduction=2))):
        (tmp_path / name).mkdir()
        config = sweep_config(pruner=pruner)
        study = open_study(tmp_path / name, config, space, validations=16)
        pruned = []
        for value in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4):
            trial = study.ask()
            for step in range(16):
                trial.report(value, step)
                if trial.should_prune():
                    pruned.append(trial.number)
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, value)
        assert pruned
        assert 0 not in pruned


def test_summary_table_and_picture_tell_the_best_when_trials_ended_differently(
    tmp_path: Path, space: Space, sweep_config: Callable[..., DictConfig]
) -> None:
    config = sweep_config()
    study = open_study(tmp_path, config, space, validations=None)
    goals = objectives(config)
    assert summarize(study, goals, status="running")["best"] is None
    assert draw_sweep(study, goals, tmp_path / "none.png", title="t") is None
    for number in range(14):
        trial = study.ask()
        params = space.suggest(trial)
        if number == 3:
            trial.set_user_attr("error", "it broke")
            study.tell(trial, state=TrialState.FAIL)
        elif number == 4:
            trial.report(0.1, 0)
            study.tell(trial, state=TrialState.PRUNED)
        elif number < 13:
            study.tell(trial, params["width"] / 16 - params["optim.lr"])
    summary = summarize(study, goals, status="stopped")
    counts = {"all": 14, "complete": 11, "pruned": 1, "failed": 1, "interrupted": 1}
    assert summary["counts"] == counts
    assert summary["best"]["params"]["width"] == 16
    assert summary["best"]["folder"] == f"trials/{summary['best']['number']:04d}"
    assert summary["trials"][3]["error"] == "it broke"
    assert summary["trials"][3]["values"] == {}
    lines = sweep_table(summary).splitlines()
    assert lines[2].split()[0] == f"{summary['best']['number']:04d}"
    assert lines[-1] == "… and 4 more in sweep.json"
    assert set(importances(study)) == {"optim.lr", "width"}
    picture = draw_sweep(study, goals, tmp_path / "sweep.png", title="t")
    assert picture is not None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_summary_lists_the_front_when_there_are_several_objectives(
    tmp_path: Path, space: Space, sweep_config: Callable[..., DictConfig]
) -> None:
    config = sweep_config(also={"seconds": Direction.min})
    study = open_study(tmp_path, config, space, validations=None)
    for values in ([0.9, 5.0], [0.8, 1.0], [0.7, 2.0]):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, values)
    goals = objectives(config)
    summary = summarize(study, goals, status="finished")
    assert summary["best_trials"] == [0, 1]
    assert summary["trials"][2]["values"] == {"val/accuracy": 0.7, "seconds": 2.0}
    assert draw_sweep(study, goals, tmp_path / "sweep.png", title="t") is not None
