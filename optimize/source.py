"""Where the checkpoint to export comes from: a file, or the artifacts of an MLflow run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from optimize.errors import SourceError
from trainer.checkpoint import sidecar_path

if TYPE_CHECKING:
    from collections.abc import Iterator

LATEST = "latest"
BEST_CHECKPOINT = "checkpoints/best.ckpt"
"""The artifact of a run that is exported."""
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"

_PAGE = 100
_SQLITE = "sqlite:///"


def locate(
    *, checkpoint: str | None, run: str | None, tracking_uri: str | None, workspace: Path
) -> Path:
    """The checkpoint's path; one that comes from a run is downloaded into `workspace`.

    With neither `checkpoint` nor `run` the latest run is taken. Raises SourceError. The file
    itself is verified by whoever reads it.
    """
    if checkpoint is not None and run is not None:
        raise SourceError(
            f"checkpoint={checkpoint} and run={run} were both given",
            field="checkpoint",
            remedy="give one of them",
        )
    if checkpoint is not None:
        return _file(checkpoint)
    store = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
    return _RunStore(store).download(run or LATEST, workspace)


def _file(checkpoint: str) -> Path:
    if "://" in checkpoint:
        raise SourceError(
            f"checkpoint={checkpoint} is a URL",
            field="checkpoint",
            remedy=f"download the file and its {sidecar_path(Path('best.ckpt')).name} first",
        )
    path = Path(checkpoint)
    if path.is_dir():
        found = path / BEST_CHECKPOINT
        example = f", for example checkpoint={found}" if found.is_file() else ""
        raise SourceError(
            f"checkpoint={checkpoint} is a folder",
            field="checkpoint",
            remedy=f"name the file in it{example}",
        )
    if not path.is_file():
        raise SourceError(
            f"checkpoint={checkpoint}: there is no such file",
            field="checkpoint",
            remedy="see best_checkpoint in the run folder's summary.json, or use run=latest",
        )
    return path


class _RunStore:
    """The runs that one MLflow server knows."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        database = Path(uri.removeprefix(_SQLITE))
        if uri.startswith(_SQLITE) and not database.is_file():
            # MLflow would make an empty one, which takes seconds and is of no use.
            raise SourceError(
                f"there are no runs yet: {database} does not exist",
                field="run",
                remedy="run train.py first, or give checkpoint=PATH",
            )
        self._client = MlflowClient(uri)

    def download(self, run: str, workspace: Path) -> Path:
        """The run's best checkpoint and its sidecar, as files."""
        try:
            run_id = self._latest() if run == LATEST else self._known(run)
            if not self._has_checkpoint(run_id):
                raise SourceError(
                    f"run={run_id} has no artifact {BEST_CHECKPOINT}",
                    field="run",
                    remedy="choose another run, or give checkpoint=PATH",
                )
            sidecar = sidecar_path(Path(BEST_CHECKPOINT)).as_posix()
            self._client.download_artifacts(run_id, sidecar, str(workspace))
            return Path(self._client.download_artifacts(run_id, BEST_CHECKPOINT, str(workspace)))
        except (MlflowException, OSError) as error:
            raise SourceError(
                f"run={run} cannot be had from {self._uri}: {_first_line(error)}", field="run"
            ) from error

    def _known(self, run_id: str) -> str:
        try:
            return str(self._client.get_run(run_id).info.run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise SourceError(
                f"run={run_id}: there is no such run in {self._uri}",
                field="run",
                remedy="use run=latest, or set MLFLOW_TRACKING_URI to the server that has it",
            ) from error

    def _latest(self) -> str:
        for run in self._finished():
            if self._has_checkpoint(run.info.run_id):
                return str(run.info.run_id)
        raise SourceError(
            f"no finished run in {self._uri} has an artifact {BEST_CHECKPOINT}",
            field="run",
            remedy="run train.py first, or give checkpoint=PATH",
        )

    def _finished(self) -> Iterator[Run]:
        """Newest first."""
        experiments = [item.experiment_id for item in self._client.search_experiments()]
        token = None
        while True:
            page = self._client.search_runs(
                experiments,
                filter_string="attributes.status = 'FINISHED'",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=_PAGE,
                order_by=["attributes.end_time DESC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _has_checkpoint(self, run_id: str) -> bool:
        folder = Path(BEST_CHECKPOINT).parent.as_posix()
        return any(
            item.path == BEST_CHECKPOINT for item in self._client.list_artifacts(run_id, folder)
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
