"""MetricsFile: every metric of a run in `metrics.csv`, one value a line, written as it comes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger

from bundle.atomic_file import staged
from trainer.metrics.metric import Metric, read_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class MetricsFile(Logger):
    """Lightning's logger for a run without a tracking server, and the source of its pictures."""

    def __init__(self, path: Path, *, resumed_at: int | None = None) -> None:
        """`resumed_at`: keep what the file has up to this step; what came after will come again."""
        super().__init__()
        self.path = path
        self.rows: list[Metric] = []
        if resumed_at is not None and path.exists():
            self.rows = [row for row in read_metrics(path) if row.step <= resumed_at]
        self._kept = {(row.step, row.name) for row in self.rows}
        with staged(path) as temporary:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(Metric._fields)
                writer.writerows((row.step, row.name, repr(row.value)) for row in self.rows)
            temporary.replace(path)
        self._stream = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return self.path.parent.name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line for each metric, all at once; what was kept is not written again."""
        at = step or 0
        rows = [
            Metric(at, name, float(value))
            for name, value in metrics.items()
            if (at, name) not in self._kept
        ]
        self.rows += rows
        self._writer.writerows((row.step, row.name, repr(row.value)) for row in rows)
        self._stream.flush()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    def close(self) -> None:
        """Nothing is recorded after this."""
        self._stream.close()
