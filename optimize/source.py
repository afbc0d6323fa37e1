"""Where the checkpoint to export comes from: a file, an MLflow run, or a registered version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.address import sqlite_file
from bundle.archive import sha256_file
from bundle.errors import NotFoundError
from bundle.registry import ModelRegistry
from bundle.registry.store import MlflowStore
from optimize.errors import SourceError
from trainer.checkpoints.sharded import is_sharded
from trainer.checkpoints.sidecar import sidecar_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run

LATEST = "latest"
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""The artifact of a run that is exported; a run without validation has no best one."""

_PAGE = 100
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)
"""What MLflow takes for one; of anything else it says so in its own words."""
_VERSION = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<number>[0-9]+)|@(?P<alias>[^/@]+))")


def locate(
    *,
    checkpoint: str | None,
    run: str | None,
    version: str | None,
    tracking_uri: str | None,
    workspace: Path,
) -> Path:
    """The checkpoint's path; one that comes from a run is downloaded into `workspace`.

    With none of the three the latest run is taken. Raises SourceError. The file itself is verified
    by whoever reads it.
    """
    named = {"checkpoint": checkpoint, "run": run, "version": version}
    given = [f"{key}={value}" for key, value in named.items() if value is not None]
    if len(given) > 1:
        raise SourceError(
            f"{' and '.join(given)} were {'both' if len(given) == 2 else 'all'} given",
            field=given[0].partition("=")[0],
            remedy="give one of them",
        )
    if checkpoint is not None:
        return _file(checkpoint)
    store = _RunStore(tracking_uri)
    if version is not None:
        return store.download_of_version(version, workspace)
    return store.download(LATEST if run is None else run, workspace)


def _file(checkpoint: str) -> Path:
    if not checkpoint.strip():
        raise SourceError(
            "checkpoint is empty",
            field="checkpoint",
            remedy="name the file, or leave it out for the latest run",
        )
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
    if path.exists() and not path.is_file():
        raise SourceError(
            f"checkpoint={checkpoint}: it is not a plain file",
            field="checkpoint",
            remedy="name a checkpoint that train.py wrote, or use run=latest",
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
        database = sqlite_file(self._store.uri)
        if database is not None and not database.is_file():
            raise SourceError(
                f"there are no runs yet: {database} does not exist",
                field="run",
                remedy="run train.py first, or give checkpoint=PATH",
            )

    def download(self, run: str, workspace: Path) -> Path:
        """The run's best checkpoint and its sidecar, as files."""
        run_id, artifact = self._latest() if run == LATEST else self._known(run)
        return self._download(run_id, artifact, workspace)

    def download_of_version(self, version: str, workspace: Path) -> Path:
        """The checkpoint that a registered version was made of, out of its training run."""
        match = _VERSION.fullmatch(version)
        if match is None:
            raise SourceError(
                f"version={version} does not name a version in the registry",
                field="version",
                remedy="write NAME/NUMBER or NAME@ALIAS, with or without models:/ in front",
            )
        number = match["number"]
        wanted = match["alias"] if number is None else int(number)
        found = ModelRegistry(self._store.uri).get(match["name"], wanted)
        origin = found.metadata.get("lineage.checkpoint")
        origin = origin if isinstance(origin, dict) else {}
        run_id = origin.get("run_id") or found.run_id
        for artifact in () if run_id is None else self._artifacts(str(run_id)):
            path = self._download(str(run_id), artifact, workspace)
            if origin.get("sha256") in (None, sha256_file(path)):
                return path
        raise SourceError(
            f"version={version}: the checkpoint that it was made of is not among the artifacts of "
            f"run {run_id}",
            field="version",
            remedy="give checkpoint=PATH",
        )

    def _download(self, run_id: str, artifact: str, workspace: Path) -> Path:
        sidecar = sidecar_path(Path(artifact)).as_posix()
        with self._store.reading() as client:
            client.download_artifacts(run_id, sidecar, str(workspace))
            return Path(client.download_artifacts(run_id, artifact, str(workspace)))

    def _known(self, run_id: str) -> tuple[str, str]:
        """The run's id and the artifact to take."""
        try:
            if not _RUN_ID.fullmatch(run_id):
                raise NotFoundError(run_id)
            with self._store.reading(missing=NotFoundError(run_id)) as client:
                client.get_run(run_id)
        except NotFoundError as error:
            raise SourceError(
                f"run={run_id}: there is no such run in {self._store.uri}",
                field="run",
                remedy="use run=latest, or set MLFLOW_TRACKING_URI to the server that has it",
            ) from error
        artifacts = self._artifacts(run_id)
        if not artifacts:
            raise SourceError(
                f"run={run_id} has no artifact {' or '.join(CHECKPOINTS)}",
                field="run",
                remedy="choose another run, or give checkpoint=PATH",
            )
        return run_id, artifacts[0]

    def _latest(self) -> tuple[str, str]:
        for run in self._finished():
            artifacts = self._artifacts(run.info.run_id)
            if artifacts:
                return str(run.info.run_id), artifacts[0]
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

    def _artifacts(self, run_id: str) -> list[str]:
        """The checkpoints that it has, the best first."""
        folder = Path(CHECKPOINTS[0]).parent.as_posix()
        with self._store.reading(missing=NotFoundError(f"there is no run {run_id}")) as client:
            paths = {item.path for item in client.list_artifacts(run_id, folder)}
        return [name for name in CHECKPOINTS if name in paths]
