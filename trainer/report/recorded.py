"""Recorded: all that a run folder says, as far as it goes; what is missing has a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from trainer.checkpoints.quarantine import QUARANTINE
from trainer.errors import DataError
from trainer.events import FILE as EVENTS
from trainer.events import read_events
from trainer.metrics.metric import Metric, read_metrics
from trainer.metrics.predictions import FILE as PREDICTIONS
from trainer.metrics.predictions import Predictions, read_predictions
from trainer.run_folder import CONFIG, RUNNING, SUMMARY, is_claimed

if TYPE_CHECKING:
    from pathlib import Path

METRICS = "metrics.csv"
PERFORMANCE = "performance.csv"
ENVIRONMENT = "environment.json"
CHECKPOINTS = "checkpoints"
LOG = "train.log"
FILES = (SUMMARY, CONFIG, METRICS, PERFORMANCE, EVENTS, ENVIRONMENT, PREDICTIONS, LOG, CHECKPOINTS)
"""What a run leaves; one of them makes a folder a run folder."""
_LAST_LINES = 30
_TAIL = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What its description says. The bytes themselves are not read."""

    name: str
    there: bool
    description: dict[str, Any]


@dataclass(kw_only=True)
class Recorded:
    """Empty where nothing was found."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    performance: list[Metric] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    predictions: Predictions | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    log_tail: str = ""
    alive: bool | None = None
    """Whether a process trains in the folder now, if it says so; None: it cannot be told."""
    missing: dict[str, str] = field(default_factory=dict)
    """File → why nothing of it is here."""

    @property
    def status(self) -> str:
        """The summary's, or ""."""
        return str(self.summary.get("status") or "")


def read_run(folder: Path) -> Recorded:
    """Whatever is there; nothing that is missing or damaged raises."""
    run = Recorded(folder=folder)
    run.summary = _json(run, SUMMARY)
    run.environment = _json(run, ENVIRONMENT)
    run.metrics = _metrics(run, METRICS)
    run.performance = _metrics(run, PERFORMANCE)
    run.events = _events(run)
    _read_config(run)
    _read_predictions(run)
    _read_checkpoints(run)
    run.log_tail = _tail(folder / LOG)
    if run.status == RUNNING:
        run.alive = is_claimed(folder)
    return run


def _json(run: Recorded, name: str) -> dict[str, Any]:
    try:
        value = json.loads((run.folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        run.missing[name] = f"{name} is not there"
    except (OSError, ValueError) as error:
        run.missing[name] = f"{name} cannot be read ({_line(error)})"
    else:
        if isinstance(value, dict):
            return value
        run.missing[name] = f"{name} is not what a run writes"
    return {}


def _metrics(run: Recorded, name: str) -> list[Metric]:
    try:
        rows = read_metrics(run.folder / name)
    except FileNotFoundError:
        run.missing[name] = f"{name} is not there"
    except (OSError, ValueError) as error:
        run.missing[name] = f"{name} cannot be read ({_line(error)})"
    else:
        if not rows:
            run.missing[name] = f"{name} has no values yet"
        return rows
    return []


def _events(run: Recorded) -> list[dict[str, Any]]:
    try:
        found: list[Any] = read_events(run.folder)  # lines of JSON, whatever it is
        return [event for event in found if isinstance(event, dict)]
    except OSError as error:
        run.missing[EVENTS] = f"{EVENTS} cannot be read ({_line(error)})"
        return []


def _read_config(run: Recorded) -> None:
    try:
        run.config_text = (run.folder / CONFIG).read_text(encoding="utf-8", errors="replace")
        config = yaml.safe_load(run.config_text)
    except FileNotFoundError:
        run.missing[CONFIG] = f"{CONFIG} is not there"
    except (OSError, yaml.YAMLError) as error:
        run.missing[CONFIG] = f"{CONFIG} cannot be read ({_line(error)})"
    else:
        run.config = config if isinstance(config, dict) else {}


def _read_predictions(run: Recorded) -> None:
    path = run.folder / PREDICTIONS
    if not path.exists():
        run.missing[PREDICTIONS] = f"{PREDICTIONS} is not there"
        return
    try:
        run.predictions = read_predictions(path)
    except DataError as error:
        run.missing[PREDICTIONS] = (
            f"{PREDICTIONS} cannot be read ({_line(error.__cause__ or error)})"
        )


def _read_checkpoints(run: Recorded) -> None:
    folder = run.folder / CHECKPOINTS
    found: dict[str, Checkpoint] = {}
    for sidecar in folder.glob("*.json"):
        path = sidecar.with_suffix("")
        found[path.name] = _checkpoint(path, sidecar)
    for path in [*folder.glob("*.ckpt"), *(p.parent for p in folder.glob("*/manifest.json"))]:
        if path.name not in found:
            sidecar = (
                path / "manifest.json" if path.is_dir() else path.with_name(path.name + ".json")
            )
            found[path.name] = _checkpoint(path, sidecar)
    run.checkpoints = sorted(found.values(), key=lambda c: (-_step(c), c.name))
    damaged = (folder / QUARANTINE).glob("*")
    run.quarantined = sorted(path.name for path in damaged if path.suffix != ".json")


def _checkpoint(path: Path, sidecar: Path) -> Checkpoint:
    try:
        description = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        description = {}
    return Checkpoint(
        name=path.name,
        there=path.exists(),
        description=description if isinstance(description, dict) else {},
    )


def _step(checkpoint: Checkpoint) -> int:
    step = checkpoint.description.get("step")
    return step if isinstance(step, int) else -1


def _tail(path: Path) -> str:
    """The last lines of a log, of which only the end is read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LAST_LINES:])


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
