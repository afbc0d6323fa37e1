"""Training runs, as MLflow's database has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deploy.monitoring.dashboards.dashboard import dashboard, sql_values
from deploy.monitoring.dashboards.panel import number, sql_lines, sql_rows
from deploy.monitoring.dashboards.query import Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import QueryVariable
    from grafana_foundation_sdk.builders.stat import Panel as Number
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.dashboard import Dashboard

SQL = Path(__file__).parent / "sql"
_EXPERIMENT = 'experiment=~"${experiment:regex}"'


def training() -> Dashboard:
    """Of the runs that are chosen, at first of all."""
    return dashboard(
        "training",
        "Trainyard: training",
        {
            "Now": _now(),
            "Runs": [sql_rows("Runs", _read("runs"))],
            "Learning": _learning(),
            "Speed": _speed(),
            "Machine": _machine(),
            "Events": [
                sql_rows(
                    "Restarts, fallbacks, stops and failures",
                    _read("events"),
                    text="count: how often so far; last: the last event of that kind, whole.",
                )
            ],
        },
        variables=runs_to_choose(),
        span="24h",
    )


def runs_to_choose() -> list[QueryVariable]:
    """Experiments, and their latest 200 runs."""
    return [
        sql_values("experiment", _read("experiments")),
        sql_values("run", _read("runs_of_experiments")),
    ]


def metric(title: str, pattern: str, *, unit: str, text: str = "") -> Graph:
    """The metrics whose names are LIKE the pattern, of the runs that are chosen."""
    query = _read("series").replace(":pattern", pattern)
    return sql_lines(title, query, unit=unit, text=text)


def _read(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def _now() -> list[Number]:
    def runs(status: str) -> Query:
        found = f'trainyard_training_runs{{{_EXPERIMENT},status="{status}"}}'
        return Query(f"sum({found}) or vector(0)")

    return [
        number("Running", runs("RUNNING"), unit="short"),
        number("Finished", runs("FINISHED"), unit="short"),
        number("Failed", runs("FAILED"), unit="short"),
        number("Stopped", runs("KILLED"), unit="short"),
        number(
            "Longest silence",
            Query(f"max(trainyard_training_run_silent_seconds{{{_EXPERIMENT}}})"),
            unit="s",
            limits=(600, 1800),
            text="Since a running run last recorded something.",
        ),
    ]


def _learning() -> list[Graph]:
    return [
        metric("Loss in training", "train/loss", unit="short"),
        metric("Loss in validation", "val/loss", unit="short"),
        metric("Accuracy in training", "train/accuracy", unit="percentunit"),
        metric("Accuracy in validation", "val/accuracy", unit="percentunit"),
    ]


def _speed() -> list[Graph]:
    return [
        metric("Samples", "throughput/samples", unit="cps", text="All processes together."),
        metric("Time of a step", "time/step%", unit="s", text="Mean, and 95th percentile."),
        metric(
            "Share of time without a batch",
            "time/data_share",
            unit="percentunit",
            text="The device waits for the loader.",
        ),
        metric(
            "Model FLOPs utilisation",
            "throughput/mfu",
            unit="percentunit",
            text="Where the peak of the device is known.",
        ),
    ]


def _machine() -> list[Graph]:
    return [
        metric("Processor and memory", "system/%percentage", unit="percent"),
        metric("Memory of the main process", "system/process_memory%", unit="decmbytes"),
    ]
