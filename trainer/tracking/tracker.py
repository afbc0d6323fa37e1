"""ExperimentTracker: what a run was made of and what came of it, kept on an MLflow server."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger

from trainer.errors import PreflightError, TrackingError
from trainer.events import EventTail
from trainer.tracking.journal import open_journal
from trainer.tracking.mlflow_run import MlflowRun
from trainer.tracking.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from trainer.metrics.metric import Metric

log = logging.getLogger(__name__)

LONGEST_VALUE = 6000
"""MLflow refuses a longer parameter; longer ones end in their own sha256."""
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]")
_REMEDY = "start the server, or use tracking=none or tracking.when_away=spool"
_LONGEST_STOP = 10.0
"""Seconds that a run which was asked to stop may take to send its last records."""


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


class ExperimentTracker(Logger):
    """Records nothing, and is the interface of what does."""

    def __init__(self, *, run_id: str | None = None) -> None:
        super().__init__()
        self._run_id = run_id or uuid.uuid4().hex

    @property
    def run_id(self) -> str:
        """The run's id on the server or, until there is one, its own name for itself."""
        return self._run_id

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
        """Values of one step."""

    def go_back(self, step: int) -> None:
        """What was recorded after this step will come again, and otherwise."""

    def replay(self, rows: Iterable[Metric]) -> None:
        """What a run that goes on has behind it; what is already recorded is left out."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Facts about the run."""

    def log_file(self, path: Path, *, folder: str = "", temporary: bool = False) -> None:
        """Store a file with the run, under `folder`; remove a temporary one when that is done."""

    def flush(self) -> None:
        """Send what waits."""

    def finish(self, status: str) -> None:
        """Close the run as `finished`, `failed` or `stopped`."""


class MlflowTracker(ExperimentTracker):
    """One MLflow run. No call waits for the server, but for the first and the last.

    Records go to the journal in the run folder, and from there to the server in the background.
    """

    def __init__(
        self,
        uri: str,
        *,
        folder: Path,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str],
        run_id: str | None = None,
        must_answer: bool = False,
        start_timeout: float = 30.0,
        flush_timeout: float = 300.0,
    ) -> None:
        """Start a run, or go on with `run_id` if the server knows it.

        `must_answer`: fail when the server is away; else records wait in `folder`. Raises
        PreflightError for an address that cannot be right.
        """
        super().__init__()
        self.uri = uri
        self._folder = folder
        self._must_answer = must_answer
        self._flush_timeout = flush_timeout
        self._journal = open_journal(
            folder, run_id=run_id, experiment=experiment, name=run_name, tags=dict(tags)
        )
        self._recorded = dict(self._journal.steps)
        self._events = EventTail(
            folder, since=self._journal.header["events"], done=self._journal.events
        )
        self._sender = Sender(self._journal, MlflowRun(uri, self._journal))
        self._sender.start()
        answered = self._sender.first_answer.wait(start_timeout)
        refusal = self._sender.wrong if isinstance(self._sender.wrong, PreflightError) else None
        if must_answer and (not answered or self._sender.away is not None):
            reason = self._sender.away or f"no answer within {start_timeout:g} s"
            refusal = PreflightError(
                f"tracking.uri={uri}: {reason}", field="tracking.uri", remedy=_REMEDY
            )
        if refusal is not None:
            self._sender.stop()
            self._journal.discard()
            raise refusal
        if run_id is not None:  # not earlier: a run that is refused stays as it ended
            self._journal.append("status", status="running")
        if not answered:
            log.warning("tracking: %s has not answered within %g s", uri, start_timeout)

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def run_id(self) -> str:
        return self._journal.run_id or self._journal.key

    def log_params(self, config: Mapping[str, Any]) -> None:
        self._append("params", params=flatten(config))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values that the run's earlier start has recorded already are left out."""
        at = step or 0
        new = {
            name: float(value)
            for name, value in metrics.items()
            if at > self._recorded.get(name, -1)
        }
        if new:
            self._append("metrics", metrics=new, step=at)
        self._take_events(at)

    def go_back(self, step: int) -> None:
        self._journal.go_back(step)
        self._recorded = dict(self._journal.steps)

    def replay(self, rows: Iterable[Metric]) -> None:
        for row in rows:
            self.log_metrics({row.name: row.value}, step=row.step)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        self._append("tags", tags={name: str(value) for name, value in tags.items()})

    def log_file(self, path: Path, *, folder: str = "", temporary: bool = False) -> None:
        resolved = path.absolute()
        if resolved.is_relative_to(self._folder):
            resolved = resolved.relative_to(self._folder)
        self._append("file", path=str(resolved), folder=folder, temporary=temporary)

    def flush(self) -> None:
        """Wait until the server has everything, or is away."""
        self._sender.flush(self._flush_timeout)
        self._check()

    def finish(self, status: str) -> None:
        """Raises TrackingError if it `must_answer` and did not take all; else says what waits."""
        self._take_events(max(self._journal.steps.values(), default=0))
        self._append("status", status=status)
        wait = self._flush_timeout
        if status == "stopped":
            wait = min(wait, _LONGEST_STOP)
        complete = False
        try:
            complete = self._sender.flush(wait)
        finally:  # a second signal may end the wait
            self._journal.sync()
            ended = self._sender.stop()
            try:
                self._report(complete=complete)
            finally:
                if ended:
                    self._journal.close()

    def _report(self, *, complete: bool) -> None:
        sender, journal = self._sender, self._journal
        if not complete:
            waiting = len(journal.pending())
            reason = sender.away or sender.wrong or "the server is slow"
            told = f"{waiting} records of this run wait in {journal.path} ({reason})"
            if self._must_answer:
                raise TrackingError(told, remedy=_replay_command(self._folder))
            log.warning("tracking: %s; send them with: %s", told, _replay_command(self._folder))
        if journal.refused:
            log.warning(
                "tracking: %d records were refused; why is in %s", journal.refused, journal.path
            )
        self._check()

    def _append(self, kind: str, **fields: Any) -> None:
        self._check()
        self._journal.append(kind, **fields)

    def _check(self) -> None:
        """The sender's error, where it is to end the run."""
        error = self._sender.away or self._sender.wrong
        if self._must_answer and error is not None:
            raise TrackingError(str(error), field="tracking.uri", remedy=_REMEDY)

    def _take_events(self, step: int) -> None:
        """Record what events.jsonl has got since: how many of a kind so far, and the last one."""
        for number, kind, count, event in self._events.read():
            at = int(datetime.fromisoformat(event["time"]).timestamp() * 1000)
            self._journal.append(
                "metrics", at=at, metrics={f"events/{kind}": float(count)}, step=step, events=number
            )
            self._journal.append(
                "tags", tags={f"event.{kind}": shorten(json.dumps(event, ensure_ascii=False))}
            )


def _replay_command(folder: Path) -> str:
    return f"{sys.executable} -m trainer.replay {folder}"
