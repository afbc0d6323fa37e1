"""ExperimentTracker: what a run was made of and what came of it, kept on an MLflow server."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger

from trainer.errors import PreflightError, TrackingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient

log = logging.getLogger(__name__)

DEFAULT_URI = "sqlite:///mlflow.db"
LONGEST_VALUE = 6000
"""MLflow refuses a longer parameter; longer ones end in their own sha256."""
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_FLUSH_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]")
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

    def __init__(self) -> None:
        super().__init__()
        self.run_id = uuid.uuid4().hex

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
        """Start a run, or go on with `run_id`. Raises PreflightError without a server."""
        super().__init__()
        self.uri = uri
        _check_reachable(uri)
        self._client = _connect(uri)
        self._pending: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()
        try:
            self.experiment_id = _experiment_id(self._client, experiment)
            if run_id is not None:
                self._client.update_run(run_id, status="RUNNING")
                run = self._client.get_run(run_id)
            else:
                run = self._client.create_run(
                    self.experiment_id, run_name=run_name, tags=dict(tags)
                )
        except Exception as error:
            raise PreflightError(
                f"tracking.uri={uri}: MLflow refuses ({_first_line(error)})",
                field="tracking.uri",
                remedy=_REMEDY,
            ) from error
        self.run_id = str(run.info.run_id)

    @property
    def name(self) -> str:
        return "mlflow"

    def log_params(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param  # see _connect

        params = [Param(name, value) for name, value in flatten(config).items()]
        for start in range(0, len(params), _PARAMS_A_CALL):
            self._call("log_batch", self.run_id, params=params[start : start + _PARAMS_A_CALL])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = int(time.time() * 1000)
        self._pending += [(name, float(value), now, step or 0) for name, value in metrics.items()]
        waited = time.monotonic() - self._flushed
        if waited > _FLUSH_SECONDS or len(self._pending) >= _METRICS_A_CALL:
            self.flush()

    def log_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag  # see _connect

        self._call("log_batch", self.run_id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self._call("log_artifact", self.run_id, str(path), folder or None)

    def flush(self) -> None:
        from mlflow.entities import Metric  # see _connect

        while self._pending:
            batch = [Metric(*entry) for entry in self._pending[:_METRICS_A_CALL]]
            self._call("log_batch", self.run_id, metrics=batch)
            del self._pending[:_METRICS_A_CALL]
        self._flushed = time.monotonic()

    def finish(self, status: str) -> None:
        self.flush()
        names = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
        self._call("set_terminated", self.run_id, status=names[status])

    def _call(self, name: str, *args: Any, **kwargs: Any) -> None:
        try:
            getattr(self._client, name)(*args, **kwargs)
        except Exception as error:
            raise TrackingError(
                f"tracking.uri={self.uri}: {name} failed ({_first_line(error)})",
                field="tracking.uri",
                remedy="the checkpoints are safe in the run folder; see the server's log",
            ) from error


def _connect(uri: str) -> MlflowClient:
    """MLflow takes a second to import, so a run without it does not."""
    from mlflow import MlflowClient

    for name in ("mlflow.store.db.utils", "mlflow.tracking.fluent", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _check_reachable(uri: str) -> None:
    """MLflow itself would go on trying for minutes."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"}:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise PreflightError(
            f"tracking.uri={uri}: the MLflow server cannot be reached ({error})",
            field="tracking.uri",
            remedy=_REMEDY,
        ) from error


def _experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment's id; made if it is not there, also when another run makes it meanwhile."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
