"""MetricsFile: every metric of a run in `metrics.csv`, one value a line, written as it comes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, NamedTuple

from pytorch_lightning.loggers import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Metric(NamedTuple):
    """One value of one metric, at an optimiser step."""

    step: int
    name: str
    value: float


class MetricsFile(Logger):
    """Lightning's logger for a run without a tracking server, and the pictures' source."""

    def __init__(self, path: Path, *, up_to: int | None = None) -> None:
        """`up_to`: keep the records of an interrupted run as far as this step."""
        super().__init__()
        self.path = path
        kept: list[Metric] = []
        if up_to is not None and path.is_file():
            kept = [row for row in read_metrics(path) if row.step <= up_to]
        self.rows = kept
        self._stream = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._writer = csv.writer(self._stream)
        self._writer.writerow(Metric._fields)
        self._writer.writerows([row.step, row.name, repr(row.value)] for row in kept)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return self.path.parent.name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line for each metric."""
        for name, value in metrics.items():
            row = Metric(step or 0, name, float(value))
            self.rows.append(row)
            self._writer.writerow([row.step, row.name, repr(row.value)])

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric."""
        rows = [row for row in self.rows if row.name == name]
        return [row.step for row in rows], [row.value for row in rows]

    def close(self) -> None:
        """Nothing is recorded after this."""
        self._stream.close()


def read_metrics(path: Path) -> list[Metric]:
    """The lines of a metrics.csv."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Metric(int(row["step"]), row["name"], float(row["value"]))
            for row in csv.DictReader(stream)
        ]
