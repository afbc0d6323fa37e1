"""ExperimentTracker: what a run was made of and what came of it, kept on an MLflow server."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger

from bundle.errors import RegistryError
from trainer.errors import PreflightError, TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from bundle.registry.store import MlflowStore
    from trainer.metric import Metric

log = logging.getLogger(__name__)

DEFAULT_URI = "sqlite:///mlflow.db"
LONGEST_VALUE = 6000
"""MLflow refuses a longer parameter; longer ones end in their own sha256."""
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_FLUSH_SECONDS = 5.0
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]")
_NOT_IN_FOLDERS = re.compile(r"[^\w\-.]")
_REMEDY = "start the server, or use tracking=none"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested fields → `{"trainer.max_epochs": "10", …}`; strings as they are, the rest as JSON."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = _NOT_IN_NAMES.sub("_", f"{prefix}{key}")
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[name] = shorten(text)
    return flat


def shorten(text: str) -> str:
    """Text that a parameter can hold; one that is too long ends in the sha256 of the whole."""
    if len(text) <= LONGEST_VALUE:
        return text
    tail = f"… sha256={hashlib.sha256(text.encode()).hexdigest()}"
    return text[: LONGEST_VALUE - len(tail)] + tail


def tracking_uri(uri: str | None) -> str:
    """The config's, else MLFLOW_TRACKING_URI, else a file in the working directory."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


class ExperimentTracker(Logger):
    """Records nothing, and is the interface of what does."""

    def __init__(self, *, run_id: str | None = None) -> None:
        super().__init__()
        self.run_id = run_id or uuid.uuid4().hex

    @property
    def name(self) -> str:
        return "none"

    @property
    def version(self) -> str:
        return self.run_id

    def log_params(self, config: Mapping[str, Any]) -> None:
        """Every field of the resolved config."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Lightning's call; `log_params` has all of them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step; they may be sent later, but in order."""

    def replay(self, rows: Iterable[Metric]) -> None:
        """What a run that goes on has behind it; what is already recorded is left out."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Facts about the run."""

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """Store a file with the run, under `folder`."""

    def flush(self) -> None:
        """Send what waits."""

    def finish(self, status: str) -> None:
        """Close the run as `finished`, `failed` or `stopped`."""


class MlflowTracker(ExperimentTracker):
    """One MLflow run. Raises TrackingError when the server fails in the middle of the work."""

    def __init__(
        self,
        uri: str,
        *,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str],
        run_id: str | None = None,
    ) -> None:
        """Start a run, or go on with `run_id` if the server knows it.

        Raises PreflightError if the server cannot be reached.
        """
        super().__init__()
        self.uri = uri
        self._pending: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()
        store = _store(uri)
        try:
            # Alone: runs that start together would each make the tables of a new database.
            with store.writing(create=True) as self._client:
                self.experiment_id = _experiment_id(
                    self._client, experiment, artifacts=store.artifact_root
                )
                run = self._continue(run_id) if run_id else None
                if run is None:
                    run = self._client.create_run(
                        self.experiment_id, run_name=run_name, tags=dict(tags)
                    )
        except RegistryError as error:
            raise PreflightError(
                f"tracking.uri={uri}: {error}", field="tracking.uri", remedy=_REMEDY
            ) from error
        self.run_id = str(run.info.run_id)
        self._known_params: dict[str, str] = dict(run.data.params)
        self._recorded = {name: self._last_step(name) for name in run.data.metrics}

    @property
    def name(self) -> str:
        return "mlflow"

    def log_params(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param  # see _store

        flat = flatten(config)
        known = self._known_params
        changed = {f"changed.{k}": v for k, v in flat.items() if known.get(k, v) != v}
        if changed:  # MLflow keeps a parameter's first value
            self.log_tags(changed)
        params = [Param(name, value) for name, value in flat.items() if name not in known]
        for start in range(0, len(params), _PARAMS_A_CALL):
            self._call("log_batch", self.run_id, params=params[start : start + _PARAMS_A_CALL])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = int(time.time() * 1000)
        self._pending += [
            (name, float(value), now, step or 0)
            for name, value in metrics.items()
            if (step or 0) > self._recorded.get(name, -1)
        ]
        waited = time.monotonic() - self._flushed
        if waited > _FLUSH_SECONDS or len(self._pending) >= _METRICS_A_CALL:
            self.flush()

    def replay(self, rows: Iterable[Metric]) -> None:
        for row in rows:
            self.log_metrics({row.name: row.value}, step=row.step)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag  # see _store

        self._call("log_batch", self.run_id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self._call("log_artifact", self.run_id, str(path), folder or None)

    def flush(self) -> None:
        from mlflow.entities import Metric  # see _store

        while self._pending:
            batch = [Metric(*entry) for entry in self._pending[:_METRICS_A_CALL]]
            self._call("log_batch", self.run_id, metrics=batch)
            del self._pending[:_METRICS_A_CALL]
        self._flushed = time.monotonic()

    def finish(self, status: str) -> None:
        self.flush()
        names = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
        self._call("set_terminated", self.run_id, status=names[status])

    def _continue(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException  # see _store

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            log.warning("%s does not know run %s: a new one is started", self.uri, run_id)
            return None
        self._client.update_run(run_id, status="RUNNING")
        return run

    def _last_step(self, metric: str) -> int:
        return max(int(m.step) for m in self._client.get_metric_history(self.run_id, metric))

    def _call(self, name: str, *args: Any, **kwargs: Any) -> None:
        try:
            getattr(self._client, name)(*args, **kwargs)
        except Exception as error:
            raise TrackingError(
                f"tracking.uri={self.uri}: {name} failed ({_first_line(error)})",
                field="tracking.uri",
                remedy="the checkpoints are safe in the run folder; see the server's log",
            ) from error


def _store(uri: str) -> MlflowStore:
    """MLflow takes a second to import, so a run without it does not."""
    from bundle.registry.store import MlflowStore

    for name in ("mlflow.store.db.utils", "mlflow.tracking.fluent", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowStore(uri)


def _experiment_id(client: MlflowClient, name: str, *, artifacts: Path | None) -> str:
    """The experiment's id; made if it is not there, also when another run makes it meanwhile."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if artifacts is None else str(artifacts / _NOT_IN_FOLDERS.sub("_", name))
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
