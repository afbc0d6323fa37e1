"""A dashboard: rows of panels, and the variables that its reader chooses by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.dashboard import DashboardLink, QueryVariable, Row
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)

from deploy.monitoring.dashboards.query import MLFLOW, PROMETHEUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grafana_foundation_sdk.cog.builder import Builder

TAG = "trainyard"


def dashboard(
    name: str,
    title: str,
    rows: Mapping[str, Iterable[Builder[Any]]],
    *,
    variables: Iterable[QueryVariable],
    span: str = "1h",
) -> Dashboard:
    """Panels under the titles of their rows, of the last `span` at first.

    `name` is the last part of its address.
    """
    found = (
        builders.Dashboard(title)
        .uid(f"trainyard-{name}")
        .tags([TAG])
        .timezone("browser")
        .time(f"now-{span}", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_others())
    )
    for variable in variables:
        found.with_variable(variable)
    for row, panels in rows.items():
        found.with_row(Row(row))
        for panel in panels:
            found.with_panel(panel)
    built = found.build()
    for number, placed in enumerate(built.panels or (), start=1):
        placed.id_val = number  # the SDK gives every row the same
    return built


def labels(name: str, metric: str) -> QueryVariable:
    """Any number of the values that the label `name` of the metric has; all of them at first."""
    query = f"label_values({metric}, {name})"
    return _several(name, PROMETHEUS, query).all_value(".*")  # also the empty value


def sql_values(name: str, query: str) -> QueryVariable:
    """Any number of the values that the query finds; all of them at first."""
    return _several(name, MLFLOW, query)


def _several(name: str, source: DataSourceRef, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .datasource(source)
        .query(query)
        .multi(True)
        .include_all(True)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _others() -> DashboardLink:
    return (
        DashboardLink("Trainyard")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
    )
