"""Artifacts: a bundle's folder on its way into a run of MLflow, and back."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlflow.artifacts
from mlflow.exceptions import MlflowException

from bundle.archive import Bundle, open_bundle, publish_or_reuse, sha256_file
from bundle.cache import caching, told_of
from bundle.errors import IntegrityError, RegistryError, TrainyardError, first_line
from bundle.paths import MANIFEST
from bundle.registry.store import MAX_REASON, already_exists

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPERIMENT = "trainyard"
"""Holds the runs of bundles that are registered without a run of their own."""

_FAILED_FILE = re.compile(r"##### File (.*) #####\n+(.*)")
"""How MLflow's message tells of each file."""


def upload(
    client: Any,
    bundle: Bundle,
    *,
    manifest_sha256: str,
    name: str,
    run_id: str | None,
    root: Path | None,
) -> tuple[str, str]:
    """Log the folder into the run, or a new one; its uri and the run's id.

    `root`: where the files of new runs go; None leaves it to MLflow.
    """
    if run_id is not None:
        run = client.get_run(run_id)
    else:
        run = client.create_run(_experiment(client, root), run_name=f"register {name}")
    folder = f"bundle-{manifest_sha256[:16]}"
    client.log_artifacts(run.info.run_id, str(bundle.path), artifact_path=folder)
    if run_id is None:
        client.set_terminated(run.info.run_id)
    return f"{run.info.artifact_uri.rstrip('/')}/{folder}", run.info.run_id


def download(source: str, target: Path, *, manifest_sha256: str, tracking_uri: str) -> None:
    """Fetch the folder at `source` and give it the target's name once it is verified.

    Raises RegistryError that tells of the bundle where it cannot be fetched, and the errors of
    `open_bundle`.
    """
    with _fetching(source), caching(target) as folder:
        fetched = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=str(folder), tracking_uri=tracking_uri
        )
        with told_of(source, fetched):
            bundle = open_bundle(fetched)
            check_same(bundle, manifest_sha256)
        publish_or_reuse(bundle, target)


@contextmanager
def _fetching(source: str) -> Iterator[None]:
    try:
        yield
    except TrainyardError:
        raise
    except Exception as error:  # storages have errors of their own
        raise RegistryError(
            f"the bundle {source} cannot be fetched: {_first_cause(error)[:MAX_REASON]}",
            field="source",
        ) from error


def _first_cause(error: Exception) -> str:
    """Of the files that MLflow could not fetch, the first one and why."""
    found = _FAILED_FILE.search(str(error))
    return first_line(error) if found is None else found.expand(r"\1: \2")


def check_same(bundle: Bundle, manifest_sha256: str) -> None:
    """Raise IntegrityError unless the bundle is the one whose manifest has that hash."""
    actual = sha256_file(bundle.path / MANIFEST)
    if actual != manifest_sha256:
        raise IntegrityError(
            f"{bundle.path} has another {MANIFEST} than was registered: "
            f"sha256 {actual}, expected {manifest_sha256}",
            field=MANIFEST,
        )


def _experiment(client: Any, root: Path | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            location = None if root is None else str(root / EXPERIMENT)
            return str(client.create_experiment(EXPERIMENT, artifact_location=location))
        except MlflowException as error:
            if not already_exists(error):
                raise
            found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id)
