"""MlflowRun: a journal's records on an MLflow server, and what each of its errors means."""

from __future__ import annotations

import errno
import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bundle.errors import RegistryError
from trainer.errors import AwayError, PreflightError, TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from bundle.registry.store import MlflowStore
    from trainer.tracking.journal import Entry, Journal

log = logging.getLogger(__name__)

RUN_TAG = "trainyard.run"
"""Holds the run's own name for itself, by which it is found again whatever its id became."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "running": "RUNNING"}
REMEDY = "correct tracking.uri, or use tracking=none"
_PARAMS_A_CALL = 100
_NOT_IN_FOLDERS = re.compile(r"[^\w\-.]")
_HTTP = ("http", "https")
_DAMAGE = (AttributeError, KeyError, TypeError)
"""What comes of a record that is not what was written."""
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_ASK_AGAIN = (408, 429)
_DENIED = (401, 403)
_NOT_HERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_NO_KEYS = ("NoCredentialsError", "PartialCredentialsError")
"""Of botocore, which only some servers need."""
_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow alone would try again for minutes; here the journal waits, and nobody else."""


class MlflowRun:
    """One run, made or found when it is opened. Not for two threads at once."""

    def __init__(self, uri: str, journal: Journal) -> None:
        self.uri = uri
        self._journal = journal
        self._client: MlflowClient
        self.is_open = False

    def open(self) -> None:
        """Find the journal's run on the server, or make it there.

        Raises AwayError if the server does not answer, PreflightError if it never will.
        """
        with connected(self.uri) as (self._client, artifacts):
            self._identify(artifacts)
        self.is_open = True

    def send(self, entries: Sequence[Entry]) -> None:
        """Record these, which are of one kind: any number of metrics, or one of the rest.

        Sent twice, they are recorded once: the time of each value is kept. Raises AwayError if
        they may be taken later, TrackingError if they are refused or damaged.
        """
        if not all(entry.is_whole for entry in entries):
            raise TrackingError(f"a damaged record of {entries[0].kind} cannot be sent")
        try:
            getattr(self, f"_send_{entries[0].kind}")(entries)
        except TrackingError:
            raise
        except Exception as error:
            kind = entries[0].kind
            if (
                isinstance(error, _DAMAGE)
                or _is_refusal(error)
                or (kind == "file" and _is_unstorable(error))
            ):
                raise TrackingError(
                    f"the tracking server {self.uri} refuses {kind}: {_line(error)}"
                ) from error
            self.is_open = False  # what comes back may be a server that forgot the run
            raise AwayError(f"the tracking server {self.uri} failed: {_line(error)}") from error

    def _identify(self, artifacts: Path | None) -> None:
        journal = self._journal
        if journal.run_id is not None:
            if self._find(journal.run_id) is not None:
                return
            log.warning("%s does not know run %s any more", self.uri, journal.run_id)
        elif journal.header["continues"]:
            run = self._find(journal.key)
            if run is not None:
                journal.identify(run.info.run_id, self._last_steps(run))
                return
        experiment = experiment_id(self._client, journal.header["experiment"], artifacts)
        run = self._search(experiment) or self._create(experiment)
        journal.identify(run.info.run_id, {}, anew=journal.run_id is not None)

    def _find(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException  # see _store

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in _UNKNOWN:
                return None
            raise

    def _search(self, experiment: str) -> Run | None:
        """The run, if a process made it and was killed before it could note the id."""
        found = self._client.search_runs(
            [experiment], filter_string=f"tags.`{RUN_TAG}` = '{self._journal.key}'", max_results=1
        )
        return found[0] if found else None

    def _create(self, experiment: str) -> Run:
        header = self._journal.header
        return self._client.create_run(
            experiment,
            start_time=header["time"],
            run_name=header["name"],
            tags={**header["tags"], RUN_TAG: self._journal.key},
        )

    def _last_steps(self, run: Run) -> dict[str, int]:
        histories = {
            name: self._client.get_metric_history(run.info.run_id, name)
            for name in run.data.metrics
        }
        return {name: max(int(m.step) for m in points) for name, points in histories.items()}

    def _send_run(self, entries: Sequence[Entry]) -> None:
        """`open` has done this."""

    def _send_params(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Param, RunTag  # see _store

        values: Mapping[str, str] = entries[0].fields["params"]
        known = self._client.get_run(self._journal.run_id).data.params
        changed = {k: v for k, v in values.items() if known.get(k, v) != v}
        if changed:  # MLflow keeps a parameter's first value
            tags = [RunTag(f"changed.{name}", value) for name, value in changed.items()]
            self._client.log_batch(self._journal.run_id, tags=tags)
        params = [Param(name, value) for name, value in values.items() if name not in known]
        for start in range(0, len(params), _PARAMS_A_CALL):
            self._client.log_batch(
                self._journal.run_id, params=params[start : start + _PARAMS_A_CALL]
            )

    def _send_metrics(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Metric  # see _store

        known = self._journal.known
        values = [
            Metric(name, value, entry.fields["time"], entry.fields["step"])
            for entry in entries
            for name, value in entry.fields["metrics"].items()
            if entry.fields["step"] > known.get(name, -1)
        ]
        if values:
            self._client.log_batch(self._journal.run_id, metrics=values)

    def _send_tags(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import RunTag  # see _store

        tags = [RunTag(name, value) for name, value in entries[0].fields["tags"].items()]
        self._client.log_batch(self._journal.run_id, tags=tags)

    def _send_file(self, entries: Sequence[Entry]) -> None:
        fields = entries[0].fields
        path = self._journal.path.parent / fields["path"]
        if not path.is_file():
            raise TrackingError(f"{path}: was to be recorded, but is not there any more")
        self._client.log_artifact(self._journal.run_id, str(path), fields["folder"] or None)
        if fields.get("temporary"):
            path.unlink()

    def _send_status(self, entries: Sequence[Entry]) -> None:
        fields = entries[0].fields
        if fields["status"] == "running":
            self._client.update_run(self._journal.run_id, status=STATUS["running"])
        else:
            self._client.set_terminated(
                self._journal.run_id, status=STATUS[fields["status"]], end_time=fields["time"]
            )


@contextmanager
def connected(uri: str) -> Iterator[tuple[MlflowClient, Path | None]]:
    """The client, and where the artifacts of a new experiment go if that is not MLflow's choice.

    While entered, this is the only writer to a sqlite database: runs that start together would
    each make its tables. Raises AwayError if the server does not answer, PreflightError if it
    never will.
    """
    check_uri(uri)
    try:
        store = _store(uri)
        with store.writing(create=True) as client:
            yield client, store.artifact_root
    except RegistryError as error:
        if error.__cause__ is not None and is_away(error.__cause__):
            raise AwayError(str(error), field="tracking.uri") from error
        raise PreflightError(
            f"tracking.uri={uri}: {error}", field="tracking.uri", remedy=error.remedy or REMEDY
        ) from error


def check_uri(uri: str) -> None:
    """Raises PreflightError for an address that no server can have."""
    parts = urlsplit(uri)
    try:
        wrong = parts.scheme in _HTTP and (not parts.hostname or parts.port == 0)
    except ValueError:
        wrong = True
    if wrong:
        raise PreflightError(
            f"tracking.uri={uri}: not an address of a server", field="tracking.uri", remedy=REMEDY
        )


def is_away(error: BaseException) -> bool:
    """Whether the same call may succeed later: the network's, the server's or a lock's fault."""
    from mlflow.exceptions import MlflowException  # see _store

    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())
        return error.error_code not in _UNKNOWN and (status >= 500 or status in _ASK_AGAIN)
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy")


def _is_refusal(error: Exception) -> bool:
    """Whether the record itself is wrong; a run that someone deleted may be brought back."""
    from mlflow.exceptions import MlflowException  # see _store

    return (
        isinstance(error, MlflowException)
        and error.error_code in _REFUSALS
        and "'active' state" not in str(error)
    )


def _is_unstorable(error: Exception) -> bool:
    """Whether no file can be stored from here: a client, a key or a permission is missing."""
    from mlflow.exceptions import MlflowException  # see _store

    if isinstance(error, MlflowException):
        denied = error.get_http_status_code() in _DENIED
    elif isinstance(error, OSError):
        denied = error.errno in _NOT_HERE
    else:
        denied = isinstance(error, ImportError) or type(error).__name__ in _NO_KEYS
    return denied


def _store(uri: str) -> MlflowStore:
    """MLflow takes a second to import, so a run without it does not."""
    for variable, value in _QUICK.items():
        os.environ.setdefault(variable, value)
    from bundle.registry.store import MlflowStore

    for name in ("mlflow.store.db.utils", "mlflow.tracking.fluent", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowStore(uri)


def experiment_id(client: MlflowClient, name: str, artifacts: Path | None) -> str:
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


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
