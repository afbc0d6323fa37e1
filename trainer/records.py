"""What a run leaves behind besides its checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bundle.address import tracking_uri
from bundle.atomic_file import write_json
from trainer import environment
from trainer.build import plain
from trainer.checkpoints.checkpoint import consolidate
from trainer.checkpoints.resume import AUTO
from trainer.checkpoints.sidecar import sidecar_path
from trainer.events import FILE as EVENTS
from trainer.identity import differing_fields
from trainer.schema import Backend, WhenAway
from trainer.tracking.journal import unended_run
from trainer.tracking.tracker import ExperimentTracker, MlflowTracker

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from trainer.checkpoints.manager import CheckpointManager
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.run_folder import RunFolder

_WHOLE = "whole"
"""Folder of a sharded checkpoint made one file, until the server has it."""


def start_tracking(
    cfg: DictConfig, *, folder: Path, run_id: str | None = None
) -> ExperimentTracker:
    """The tracker that `cfg.tracking` asks for, of the run in `folder`; `run_id`: of the run to
    go on with.

    Raises PreflightError if its server can never be reached or, with `when_away=fail`, not now.
    """
    if cfg.tracking.backend == Backend.none:
        return ExperimentTracker(run_id=run_id)
    return MlflowTracker(
        tracking_uri(cfg.tracking.uri),
        folder=folder,
        experiment=cfg.tracking.experiment,
        run_name=cfg.name,
        tags=dict(cfg.tracking.tags),
        run_id=run_id,
        must_answer=cfg.tracking.when_away == WhenAway.fail,
        start_timeout=cfg.tracking.start_timeout,
        flush_timeout=cfg.tracking.flush_timeout,
    )


def begin_tracking(cfg: DictConfig, files: RunFolder, *, run_id: str | None) -> ExperimentTracker:
    """`start_tracking`, of a run that begins here, or goes on with `run_id`.

    A process that was killed left its run open on the server. Without a checkpoint nothing else
    tells the run that it was the same; if another one begins, the open one is closed.
    """
    unended = unended_run(files.path) if cfg.tracking.backend != Backend.none else ()
    if unended and run_id is None and cfg.resume == AUTO:
        same = not differing_fields(files.earlier_config(), plain(cfg))
        run_id = unended[0] if same else None
    if unended and run_id not in unended:
        start_tracking(cfg, folder=files.path, run_id=unended[0]).finish("stopped")
    return start_tracking(cfg, folder=files.path, run_id=run_id)


def record_environment(tracker: ExperimentTracker, data: DataModule, files: RunFolder) -> None:
    """Code, machine, versions and data, as tags and as environment.json."""
    commit = environment.git_commit() or "unknown"
    tags = {
        "git_commit": commit.removesuffix("-dirty"),
        "git_dirty": str(commit.endswith("-dirty")).lower(),
        "data_fingerprint": data.fingerprint,
        "data": json.dumps(data.describe() | {"classes": data.num_classes}),
        **{f"version.{name}": value for name, value in environment.versions().items()},
        **{f"host.{name}": value for name, value in environment.host().items()},
    }
    tracker.log_tags(tags)
    write_json(files.environment, tags)


def write_predictions(module: LightningModel, data: DataModule, files: RunFolder) -> None:
    """What the model answered to the test split, if there is one."""
    predictions = module.answers.predictions(labels=data.labels, indices=data.splits.test)
    if predictions is not None:
        predictions.write(files.predictions)


def store_tables(tracker: ExperimentTracker, files: RunFolder) -> None:
    """Summary, metrics and events, as artifacts of the run, however it ended."""
    for path in (files.summary_file, files.metrics, files.performance, files.path / EVENTS):
        if path.exists():
            tracker.log_file(path)


def store_files(
    tracker: ExperimentTracker, files: RunFolder, manager: CheckpointManager, cfg: DictConfig
) -> None:
    """Report, pictures and the best checkpoint, as artifacts of a run that came to its end."""
    for file in (files.predictions, files.environment, files.report):
        if file.is_file():
            tracker.log_file(file)
    for picture in sorted(files.pictures.glob("*.png")):
        tracker.log_file(picture, folder="pictures")
    best = manager.best or manager.last
    if best is not None and cfg.tracking.log_checkpoint:
        whole = best
        if best.is_dir():  # whoever fetches it from there wants one file
            (files.path / _WHOLE).mkdir(exist_ok=True)
            whole = consolidate(best, files.path / _WHOLE / best.name)
        for path in (whole, sidecar_path(whole)):
            tracker.log_file(path, folder="checkpoints", temporary=whole is not best)
