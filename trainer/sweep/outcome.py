"""What a trial left in its folder: its values, or why there are none."""

from __future__ import annotations

import json
import math
import signal
from typing import TYPE_CHECKING, Any

from trainer.metrics.metric import read_metrics
from trainer.run_folder import FINISHED
from trainer.sweep.process import LOG

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_OF_THE_SUMMARY = ("seconds", "steps")
GOALS = (
    *("val/accuracy", "val/f1", "val/loss", "test/accuracy", "test/f1", "test/loss"),
    *("train/accuracy", "train/loss", *_OF_THE_SUMMARY),
)
"""What a trial of any model has, if there are such splits: what `sweep.metric` may name."""
_LONGEST_ERROR = 500


def read_summary(folder: Path) -> dict[str, Any]:
    """The trial's `summary.json`; empty if it has not come that far."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def is_finished(folder: Path) -> bool:
    """Whether the trial came to its end, even if nobody was there to see it."""
    return read_summary(folder).get("status") == FINISHED


def read_values(folder: Path, metrics: Iterable[str]) -> dict[str, float]:
    """The finished trial's value of each metric: the best checkpoint's, else the last recorded.

    Raises ValueError for a metric that it does not have, or that is not a finite number.
    """
    summary = read_summary(folder)
    recorded: dict[str, float] = {}
    if (folder / "metrics.csv").exists():
        recorded = {row.name: row.value for row in read_metrics(folder / "metrics.csv")}
    found = recorded | dict(summary.get("metrics") or {})
    found |= {name: summary[name] for name in _OF_THE_SUMMARY if name in summary}
    values = {}
    for metric in metrics:
        if metric not in found:
            known = ", ".join(sorted(found))
            raise ValueError(f"sweep.metric={metric}: the trial has no such metric, but {known}")
        values[metric] = float(found[metric])
        if not math.isfinite(values[metric]):
            raise ValueError(f"{metric} is {values[metric]}")
    return values


def explain_failure(folder: Path, code: int) -> str:
    """One line: what the trial says, else how its process ended."""
    error = read_summary(folder).get("error")
    if not error and code > 0:
        try:
            lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        error = said[-1] if said else None
    if code < 0:
        error = f"killed by {signal.Signals(-code).name}"
    return str(error or f"exit code {code}")[:_LONGEST_ERROR]
