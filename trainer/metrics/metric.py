"""Metric: one recorded value, and how a file of them is read; nothing heavy is imported."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Metric(NamedTuple):
    """One value of one metric, at an optimiser step."""

    step: int
    name: str
    value: float


def read_metrics(path: Path) -> list[Metric]:
    """The lines of a metrics.csv; one that a crash cut short, or that is damaged, is left out."""
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for line in stream:
            if not line.endswith("\n"):
                break
            try:
                step, name, value = next(csv.reader([line]))
                rows.append(Metric(int(step), name, float(value)))
            except (ValueError, csv.Error):
                continue  # the header, too
    return rows


def series(rows: Iterable[Metric], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric."""
    chosen = [row for row in rows if row.name == name]
    return [row.step for row in chosen], [row.value for row in chosen]
