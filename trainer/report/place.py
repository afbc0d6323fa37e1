"""Where the files of a run are: a folder, or the artifacts that MLflow has of it."""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import NotFoundError, RegistryError
from trainer.errors import ConfigError
from trainer.report.recorded import CHECKPOINTS, FILES
from trainer.run_folder import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator

LATEST = "latest"
PAGE = "report.html"
_ROOTS = ("outputs", "multirun")
_SWEEP = "sweep.json"
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_REMEDY = "name a run folder (outputs/<date>/<time>), `latest`, or the id of a run in MLflow"


@dataclass(frozen=True)
class Place:
    """A run's files, and where its page belongs."""

    folder: Path
    page: Path


@contextmanager
def found(run: str) -> Iterator[Place]:
    """The run that `run` names: a folder, `latest`, or a run's id.

    An id is looked for below `outputs/` and `multirun/` first, then on the tracking server, whose
    copy lasts as long as the context. Raises NotFoundError or ConfigError.
    """
    path = Path(run)
    if path.exists():
        _check(path)
        yield Place(path, path / PAGE)
    elif run == LATEST:
        folder = _latest()
        yield Place(folder, folder / PAGE)
    elif _RUN_ID.fullmatch(run):
        own = _folder_of(run)
        if own is not None:
            yield Place(own, own / PAGE)
            return
        with tempfile.TemporaryDirectory(prefix="trainyard-") as scratch:
            _download(run, Path(scratch))
            yield Place(Path(scratch), Path(f"report-{run}.html"))
    else:
        raise NotFoundError(f"{run}: there is no such run folder", remedy=_REMEDY)


def _check(path: Path) -> None:
    if not path.is_dir():
        raise ConfigError(f"{path}: is a file, not a run folder", remedy=_REMEDY)
    if (path / _SWEEP).exists():
        example = next(path.glob(f"trials/*/{SUMMARY}"), path / "trials/0000").parent
        raise ConfigError(
            f"{path}: is a sweep, not a run", remedy=f"name one of its trials, such as {example}"
        )
    if not any((path / name).exists() for name in FILES):
        raise ConfigError(
            f"{path}: is not a run folder, it has no {FILES[0]} or {FILES[1]}", remedy=_REMEDY
        )


def _summaries() -> list[Path]:
    """Of all runs below the working directory's usual folders, latest first."""
    found_here = [path for root in _ROOTS for path in Path(root).rglob(SUMMARY)]
    return sorted(found_here, key=lambda path: path.stat().st_mtime, reverse=True)


def _latest() -> Path:
    for summary in _summaries():
        return summary.parent
    raise NotFoundError(
        f"latest: there is no run below {' or '.join(f'{root}/' for root in _ROOTS)} here",
        remedy="run train.py first, or name a run folder",
    )


def _folder_of(run_id: str) -> Path | None:
    for path in _summaries():
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(summary, dict) and summary.get("run_id") == run_id:
            return path.parent
    return None


def _download(run_id: str, folder: Path) -> None:
    """All that the report reads, from the run's artifacts."""
    from bundle.registry.store import MlflowStore  # takes seconds, and a folder needs no MLflow

    store = MlflowStore()
    missing = NotFoundError(
        f"{run_id}: there is no such run below outputs/ or multirun/, or in {store.uri}",
        remedy=_REMEDY,
    )
    try:
        with store.reading(missing=missing) as client:
            names = {item.path for item in client.list_artifacts(run_id)}
            kept = [name for name in FILES if name in names and name != CHECKPOINTS]
            for name in kept:
                client.download_artifacts(run_id, name, str(folder))
            descriptions = folder / CHECKPOINTS
            descriptions.mkdir()
            for item in client.list_artifacts(run_id, CHECKPOINTS):
                if item.path.endswith(".json"):  # a file lands in the folder itself
                    client.download_artifacts(run_id, item.path, str(descriptions))
    except RegistryError as error:
        raise NotFoundError(f"{missing} ({error})", remedy=_REMEDY) from error
    if not kept:
        raise NotFoundError(f"{run_id}: this run has no files in {store.uri}", remedy=_REMEDY)
