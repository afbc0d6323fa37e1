"""Panels: what the dashboards are put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

from deploy.monitoring.dashboards.query import MLFLOW, PROMETHEUS, Sql

if TYPE_CHECKING:
    from deploy.monitoring.dashboards.query import Query

WIDTH = 24
"""Of Grafana's grid."""
HALF = WIDTH // 2
THIRD = WIDTH // 3
SIXTH = WIDTH // 6


def number(
    title: str,
    query: Query,
    *,
    unit: str,
    limits: tuple[float, float] | None = None,
    falling: bool = False,
    text: str = "",
) -> stat.Panel:
    """One value, large. Beyond the first of `limits` it is yellow, beyond the second red.

    `falling`: small values are the bad ones.
    """
    panel = stat.Panel().title(title).description(text).datasource(PROMETHEUS).unit(unit)
    panel.height(4).span(SIXTH).with_target(query.target())
    return panel.thresholds(_colours(limits, falling=falling)) if limits else panel


def lines(
    title: str, *queries: Query, unit: str, width: int = HALF, stacked: bool = False, text: str = ""
) -> timeseries.Panel:
    """Series over time. The legend has the last value and the largest of each."""
    panel = _graph(title, unit=unit, width=width, text=text).datasource(PROMETHEUS)
    for position, query in enumerate(queries):
        panel.with_target(query.target(position))
    if stacked:
        stacking = common.StackingConfig().mode(StackingMode.NORMAL)
        panel.fill_opacity(30).stacking(stacking)
    return panel


def rows(title: str, query: Query, *, width: int = HALF, text: str = "") -> table.Panel:
    """The series of now, one a line."""
    return _table(title, width, text).datasource(PROMETHEUS).with_target(query.table())


def sql_lines(
    title: str, query: str, *, unit: str, width: int = HALF, text: str = ""
) -> timeseries.Panel:
    """Series from MLflow's database: columns `time`, `metric` and `value`."""
    panel = _graph(title, unit=unit, width=width, text=text).datasource(MLFLOW)
    return panel.show_points(VisibilityMode.AUTO).with_target(Sql(query, series=True))


def sql_rows(title: str, query: str, *, width: int = WIDTH, text: str = "") -> table.Panel:
    """A table from MLflow's database."""
    return _table(title, width, text).datasource(MLFLOW).with_target(Sql(query))


def _graph(title: str, *, unit: str, width: int, text: str) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    panel = timeseries.Panel().title(title).description(text).unit(unit).min(0)
    return panel.height(8).span(width).legend(legend).tooltip(tooltip)


def _table(title: str, width: int, text: str) -> table.Panel:
    return table.Panel().title(title).description(text).height(8).span(width)


def _colours(limits: tuple[float, float], *, falling: bool) -> ThresholdsConfig:
    base, top = ("red", "green") if falling else ("green", "red")
    steps = [(None, base), (limits[0], "yellow"), (limits[1], top)]
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for value, color in steps])
    )
