"""What a run leaves behind besides its checkpoints."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import environment
from trainer.atomic_file import write_json
from trainer.checkpoint import consolidate
from trainer.schema import Backend
from trainer.sidecar import sidecar_path
from trainer.tracking import ExperimentTracker, MlflowTracker, tracking_uri

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from trainer.checkpoint_manager import CheckpointManager
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.run_folder import RunFolder


def start_tracking(cfg: DictConfig, *, run_id: str | None = None) -> ExperimentTracker:
    """The tracker that `cfg.tracking` asks for; `run_id`: of the run to go on with.

    Raises PreflightError if its server is away.
    """
    if cfg.tracking.backend == Backend.none:
        return ExperimentTracker(run_id=run_id)
    return MlflowTracker(
        tracking_uri(cfg.tracking.uri),
        experiment=cfg.tracking.experiment,
        run_name=cfg.name,
        tags=dict(cfg.tracking.tags),
        run_id=run_id,
    )


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


def store_files(
    tracker: ExperimentTracker, files: RunFolder, manager: CheckpointManager, cfg: DictConfig
) -> None:
    """Summary, metrics, report, pictures and the best checkpoint, as artifacts of the run."""
    tracker.log_file(files.summary_file)
    tracker.log_file(files.metrics)
    for file in (files.predictions, files.environment, files.report):
        if file.is_file():
            tracker.log_file(file)
    for picture in sorted(files.pictures.glob("*.png")):
        tracker.log_file(picture, folder="pictures")
    best = manager.best or manager.last
    if best is not None and cfg.tracking.log_checkpoint:
        with tempfile.TemporaryDirectory(dir=files.path) as folder:
            # Whoever fetches it from there wants one file.
            whole = consolidate(best, Path(folder) / best.name) if best.is_dir() else best
            tracker.log_file(whole, folder="checkpoints")
            tracker.log_file(sidecar_path(whole), folder="checkpoints")
