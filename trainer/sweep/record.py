"""The sweep's own run on the tracking server: the parent of its trials' runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bundle.address import tracking_uri
from trainer.errors import AwayError, PreflightError
from trainer.schema import Backend, WhenAway
from trainer.tracking.mlflow_run import connected, experiment_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from omegaconf import DictConfig

log = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"
STATE_TAG = "trial_state"


class SweepRecord:
    """Says nothing to a server when the config has none."""

    def __init__(
        self, cfg: DictConfig, *, name: str, run_id: str | None, tags: dict[str, str]
    ) -> None:
        """`cfg`: of a trial. `run_id`: of the sweep's earlier start.

        Without a server that answers the sweep goes on, unless the config wants to fail then; if
        it has just begun, it has no run of its own. Raises PreflightError if the config does, if
        the server can never be reached, or if it does not know `run_id`.
        """
        self.run_id: str | None = None
        self._client: Any = None
        if cfg.tracking.backend != Backend.mlflow:
            return
        self._uri = uri = tracking_uri(cfg.tracking.uri)
        self.run_id = run_id
        try:
            with connected(uri) as (client, artifacts):
                if run_id is None:
                    experiment = experiment_id(client, cfg.tracking.experiment, artifacts)
                    run = client.create_run(experiment, run_name=name, tags=tags)
                    self.run_id = str(run.info.run_id)
                else:
                    client.update_run(run_id, status="RUNNING")
                self._client = client
        except AwayError as error:
            if cfg.tracking.when_away == WhenAway.fail:
                raise PreflightError(
                    f"tracking.uri={uri}: {error}",
                    field="tracking.uri",
                    remedy="start the server, or use tracking.when_away=spool",
                ) from error
            lost = (
                "the trials will have no run of the sweep above" if run_id is None else "going on"
            )
            log.warning("tracking: %s; %s", error, lost)
        except PreflightError as error:
            if run_id is None:
                raise
            raise PreflightError(
                f"tracking.uri={uri}: the sweep's run {run_id} cannot go on ({error})",
                field="tracking.uri",
                remedy="repeat the first command's tracking, or use another hydra.sweep.dir",
            ) from error

    def trial_tags(self, *, sweep: str, number: int) -> dict[str, str]:
        """What a trial's run is tagged with."""
        tags = {"sweep": sweep, "trial": str(number)}
        return tags | ({PARENT_TAG: self.run_id} if self.run_id else {})

    def params(self, params: Mapping[str, Any]) -> None:
        """What the sweep was asked for."""
        for name, value in params.items():
            self._try("log_param", name.replace("@", "/"), str(value)[:500])

    def trial_ended(self, run_id: str | None, *, number: int, state: str, metrics: Any) -> None:
        """Close the trial's run, which a killed process could not, and note its values."""
        if run_id is not None:
            self._try("set_tag", STATE_TAG, state, run_id=run_id)
            if state != "complete":
                ended = "FAILED" if state == "failed" else "KILLED"
                self._try("set_terminated", ended, run_id=run_id)
        for name, value in (metrics or {}).items():
            self._try("log_metric", name, value, step=number)

    def finish(self, status: str, *, files: list[Path]) -> None:
        """Keep the sweep's files and close its run."""
        for path in files:
            if path.exists():
                self._try("log_artifact", str(path))
        names = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
        self._try("set_terminated", names[status])

    def _try(self, name: str, *args: Any, run_id: str | None = None, **kwargs: Any) -> None:
        """A server that goes away does not end a sweep: the study is on disk."""
        if self.run_id is None:
            return
        try:
            if self._client is None:  # it was away when the sweep went on
                with connected(self._uri) as (self._client, _):
                    pass
            getattr(self._client, name)(run_id or self.run_id, *args, **kwargs)
        except Exception as error:  # noqa: BLE001
            log.warning("tracking: %s failed (%s)", name, str(error).strip().partition("\n")[0])
