"""What a run leaves behind besides its checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trainer import environment
from trainer.checkpoint import sidecar_path
from trainer.pictures import draw_confusion_matrix, draw_learning_curves
from trainer.schema import Backend
from trainer.tracking import ExperimentTracker, MlflowTracker, tracking_uri

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from trainer.checkpoint_manager import CheckpointManager
    from trainer.data.module import DataModule
    from trainer.lightning_model import LightningModel
    from trainer.metrics_file import MetricsFile
    from trainer.run_folder import RunFolder


def start_tracking(cfg: DictConfig, *, run_id: str | None = None) -> ExperimentTracker:
    """The tracker that `cfg.tracking` asks for, going on with `run_id` if there is one.

    Raises PreflightError if its server is away.
    """
    if cfg.tracking.backend == Backend.none:
        return ExperimentTracker()
    return MlflowTracker(
        tracking_uri(cfg.tracking.uri),
        experiment=cfg.tracking.experiment,
        run_name=cfg.name,
        tags=dict(cfg.tracking.tags),
        run_id=run_id,
    )


def record_environment(tracker: ExperimentTracker, data: DataModule) -> None:
    """Code, machine, versions and data, as tags."""
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


def draw_pictures(
    record: MetricsFile, module: LightningModel, data: DataModule, files: RunFolder, *, title: str
) -> None:
    """Learning curves always, the confusion matrix if there was a test."""
    draw_learning_curves(record, files.pictures / "learning_curves.png", title=title)
    if module.confusion_matrix is not None:
        draw_confusion_matrix(
            module.confusion_matrix.numpy(),
            data.labels,
            files.pictures / "confusion_matrix.png",
            title=title,
        )


def store_files(
    tracker: ExperimentTracker, files: RunFolder, manager: CheckpointManager, cfg: DictConfig
) -> None:
    """Summary, metrics, pictures and the best checkpoint, as artifacts of the run."""
    tracker.log_file(files.summary_file)
    tracker.log_file(files.metrics)
    for picture in sorted(files.pictures.glob("*.png")):
        tracker.log_file(picture, folder="pictures")
    best = manager.best or manager.last
    if best is not None and cfg.tracking.log_checkpoint:
        tracker.log_file(best, folder="checkpoints")
        tracker.log_file(sidecar_path(best), folder="checkpoints")
