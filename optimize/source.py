"""Where the checkpoint to export comes from: a file, or the artifacts of an MLflow run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import NotFoundError
from bundle.registry.store import MlflowStore
from optimize.errors import SourceError
from trainer.sharded import is_sharded
from trainer.sidecar import sidecar_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run

LATEST = "latest"
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""The artifact of a run that is exported; a run without validation has no best one."""

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
    return _RunStore(tracking_uri).download(run or LATEST, workspace)


def _file(checkpoint: str) -> Path:
    if "://" in checkpoint:
        raise SourceError(
            f"checkpoint={checkpoint} is a URL",
            field="checkpoint",
            remedy=f"download the file and its {sidecar_path(Path('best.ckpt')).name} first",
        )
    path = Path(checkpoint)
    if is_sharded(path):
        return path
    if path.is_dir():
        found = [path / name for name in CHECKPOINTS if (path / name).is_file()]
        example = f", for example checkpoint={found[0]}" if found else ""
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
    """The runs that one MLflow server knows. Raises RegistryError where it fails."""

    def __init__(self, uri: str | None) -> None:
        self._store = MlflowStore(uri)
        database = Path(self._store.uri.removeprefix(_SQLITE).partition("?")[0])
        if self._store.uri.startswith(_SQLITE) and not database.is_file():
            raise SourceError(
                f"there are no runs yet: {database} does not exist",
                field="run",
                remedy="run train.py first, or give checkpoint=PATH",
            )

    def download(self, run: str, workspace: Path) -> Path:
        """The run's best checkpoint and its sidecar, as files."""
        run_id, artifact = self._latest() if run == LATEST else self._known(run)
        sidecar = sidecar_path(Path(artifact)).as_posix()
        with self._store.reading() as client:
            client.download_artifacts(run_id, sidecar, str(workspace))
            return Path(client.download_artifacts(run_id, artifact, str(workspace)))

    def _known(self, run_id: str) -> tuple[str, str]:
        """The run's id and the artifact to take."""
        try:
            with self._store.reading(missing="") as client:
                client.get_run(run_id)
        except NotFoundError as error:
            raise SourceError(
                f"run={run_id}: there is no such run in {self._store.uri}",
                field="run",
                remedy="use run=latest, or set MLFLOW_TRACKING_URI to the server that has it",
            ) from error
        artifact = self._artifact(run_id)
        if artifact is None:
            raise SourceError(
                f"run={run_id} has no artifact {' or '.join(CHECKPOINTS)}",
                field="run",
                remedy="choose another run, or give checkpoint=PATH",
            )
        return run_id, artifact

    def _latest(self) -> tuple[str, str]:
        for run in self._finished():
            artifact = self._artifact(run.info.run_id)
            if artifact is not None:
                return str(run.info.run_id), artifact
        raise SourceError(
            f"no finished run in {self._store.uri} has an artifact {' or '.join(CHECKPOINTS)}",
            field="run",
            remedy="run train.py first, or give checkpoint=PATH",
        )

    def _finished(self) -> Iterator[Run]:
        """Newest first."""
        token = None
        while True:
            with self._store.reading() as client:
                page = client.search_runs(
                    [found.experiment_id for found in client.search_experiments()],
                    filter_string="attributes.status = 'FINISHED'",
                    max_results=_PAGE,
                    order_by=["attributes.end_time DESC"],
                    page_token=token,
                )
            yield from page
            token = page.token
            if not token:
                return

    def _artifact(self, run_id: str) -> str | None:
        folder = Path(CHECKPOINTS[0]).parent.as_posix()
        with self._store.reading() as client:
            paths = {item.path for item in client.list_artifacts(run_id, folder)}
        return next((name for name in CHECKPOINTS if name in paths), None)
