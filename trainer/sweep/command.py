"""`sweep=optuna`: from the command line's overrides to a finished study in its folder."""

from __future__ import annotations

import logging
import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import TrialState

from bundle.atomic_file import write_json
from trainer.build import plain, run_name
from trainer.callbacks.stop import StopSignals
from trainer.compose import explain
from trainer.errors import ConfigError, Stopped, TrainerError
from trainer.preflight import preflight
from trainer.sweep.lock import locked
from trainer.sweep.outcome import GOALS
from trainer.sweep.pictures import draw_sweep
from trainer.sweep.record import SweepRecord
from trainer.sweep.runner import Limits, SweepRunner
from trainer.sweep.space import parse_space
from trainer.sweep.study import objectives, open_study, trial_count
from trainer.sweep.summary import SUMMARY, summarize, sweep_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from optuna.study import Study

    from trainer.preflight import Plan
    from trainer.sweep.space import Space

log = logging.getLogger(__name__)

PICTURE = "pictures/sweep.png"
_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_RUN_ID = "run_id"


def sweep(config: DictConfig, arguments: Sequence[str], *, loader: ConfigLoader) -> dict[str, Any]:
    """Run the study that `config.sweep` describes; what `sweep.json` says in the end.

    `config`: composed without the values that vary, Hydra's own part included. Raises
    ConfigError or PreflightError before any trial, Stopped on SIGTERM, and TrainerError if too
    many trials failed.
    """
    cfg = config.sweep
    _check(config)
    space = parse_space(arguments, cfg.space, loader=loader)
    composer = _Composer(config, space, loader)
    example = composer.compose(space.example())
    plan = preflight(example)
    limits = Limits(
        trials=trial_count(cfg, space),
        jobs=int(cfg.jobs),
        max_failures=int(cfg.max_failures),
        stop_seconds=float(cfg.stop_seconds),
    )
    folder = Path(config.hydra.sweep.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=limits.stop_seconds) as lock, StopSignals() as signals:
        signals.armed = True
        study = open_study(folder, cfg, space, validations=_validations(example))
        _greet(study, limits, folder)
        record = SweepRecord(
            example,
            name=f"{run_name(example)}-sweep",
            run_id=study.user_attrs.get(_RUN_ID),
            tags={**example.tracking.tags, "sweep": str(config.hydra.sweep.dir)},
        )
        if record.run_id is not None and _RUN_ID not in study.user_attrs:
            study.set_user_attr(_RUN_ID, record.run_id)
            record.params({**plain(cfg), "space": space.to_dict()})
        composer.tags = partial(record.trial_tags, sweep=str(config.hydra.sweep.dir))
        OmegaConf.save(config, folder / "multirun.yaml")
        goals = objectives(cfg)

        def save(status: str) -> dict[str, Any]:
            summary = summarize(study, goals, status=status)
            write_json(folder / SUMMARY, summary)
            return summary

        save("running")
        runner = SweepRunner(
            study,
            space,
            folder=folder,
            goals=goals,
            limits=limits,
            record=record,
            prepare=composer.write,
            environment=partial(_environment, plan=plan, jobs=limits.jobs),
            changed=lambda: save("running"),
            resumes=example.resume == "auto",
            lock=lock,
        )
        status = "failed"
        try:
            runner.run(signals)
            status = _status(runner, study, stopped=signals.requested is not None)
        except (Stopped, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            summary = save(status)
            draw_sweep(study, goals, folder / PICTURE, title=run_name(example))
            record.finish(status, files=[folder / SUMMARY, folder / PICTURE])
        _print(summary, folder)
        if signals.requested is not None:
            again = f"the same command with hydra.sweep.dir={config.hydra.sweep.dir} goes on"
            raise signals.requested(f"the sweep was stopped; {again}")
        if status == "failed":
            raise TrainerError(_complaint(summary, runner, folder))
    return summary


class _Composer:
    """Composes the configs of trials, in this process and once each."""

    def __init__(self, config: DictConfig, space: Space, loader: ConfigLoader) -> None:
        self._config = config
        self._space = space
        self._loader = loader
        self.tags: Any = None
        """Given `number`: the tags of that trial's run."""

    def compose(self, params: Mapping[str, Any]) -> DictConfig:
        """The config of a trial with these values. Raises ConfigError."""
        try:
            cfg = self._loader.load_sweep_config(self._config, self._space.overrides(params))
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                jobs = int(cfg.sweep.jobs)
                del cfg["hydra"]
                cfg.sweep = None
            if jobs > 1 and cfg.trainer.threads is None:
                devices = cfg.trainer.devices
                processes = jobs * (devices if isinstance(devices, int) else 1)
                cfg.trainer.threads = max(1, len(os.sched_getaffinity(0)) // processes)
            return OmegaConf.create(plain(cfg))
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error) from error

    def write(self, folder: Path, number: int, params: Mapping[str, Any]) -> None:
        """The trial's config, resolved, to its folder."""
        cfg = self.compose(params)
        cfg.tracking.tags = {**cfg.tracking.tags, **self.tags(number=number)}
        OmegaConf.save(cfg, folder / "config.yaml")


def _check(config: DictConfig) -> None:
    cfg = config.sweep
    if config.hydra.launcher._target_ != _BASIC_LAUNCHER:
        raise ConfigError(
            "hydra/launcher: a study starts its trials itself",
            field="hydra/launcher",
            remedy="use sweep.jobs=N with sweep=optuna; launchers are for a plain multirun",
        )
    for name, least in (("trials", 1), ("jobs", 1), ("max_failures", -1), ("stop_seconds", 0)):
        if cfg[name] < least:
            raise ConfigError(
                f"sweep.{name}={cfg[name]}: must be at least {least}", field=f"sweep.{name}"
            )
    for name, metric in (("metric", cfg.metric), *(("also", metric) for metric in cfg.also)):
        if metric not in GOALS:
            raise ConfigError(
                f"sweep.{name}={metric}: no trial has such a metric",
                field=f"sweep.{name}",
                remedy=f"use one of {', '.join(GOALS)}",
            )


def _validations(cfg: DictConfig) -> int | None:
    """Of a whole trial; None if something else than epochs ends it."""
    epochs, every = int(cfg.trainer.max_epochs), float(cfg.trainer.val_every)
    if epochs < 1:
        return None
    return epochs * round(1 / every) if every <= 1 else math.ceil(epochs / int(every))


def _environment(slot: int, *, plan: Plan, jobs: int) -> dict[str, str]:
    """With several trials at a time, each has GPUs of its own as long as there are enough."""
    if plan.accelerator != "gpu" or jobs == 1:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    own = [found[(slot * plan.devices + n) % len(found)] for n in range(plan.devices)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)}


def _greet(study: Study, limits: Limits, folder: Path) -> None:
    trials = study.get_trials(deepcopy=False)
    if trials:
        begun = sum(trial.state is TrialState.RUNNING for trial in trials)
        ended = len(trials) - begun
        log.info(
            "going on in %s: %d of %d trials have ended, %d were interrupted",
            folder,
            ended,
            limits.trials,
            begun,
        )
    else:
        log.info("%d trials in %s", limits.trials, folder)


def _status(runner: SweepRunner, study: Study, *, stopped: bool) -> str:
    if stopped:
        return "stopped"
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return "failed" if runner.failed or not complete else "finished"


def _complaint(summary: Mapping[str, Any], runner: SweepRunner, folder: Path) -> str:
    failed = [trial for trial in summary["trials"] if trial["state"] == "failed"]
    last = f"; the last: {failed[-1]['error']} (see {folder / failed[-1]['folder']})"
    if runner.failed:
        return f"{runner.failures} trials failed, more than sweep.max_failures allows{last}"
    return f"no trial of {summary['counts']['all']} was completed{last if failed else ''}"


def _print(summary: Mapping[str, Any], folder: Path) -> None:
    """The result on stdout; the folder is its last line."""
    print(sweep_table(summary))
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    counts = "  ".join(f"{name} {count}" for name, count in summary["counts"].items())
    print(f"\ntrials        {counts}")
    if summary["best"] is not None:
        print(f"best          {shown / summary['best']['folder']}")
    print(f"sweep folder  {shown}")
