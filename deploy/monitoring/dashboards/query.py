"""Queries: what a panel asks, of Prometheus or of MLflow's database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.prometheus import Dataquery as PrometheusDataquery

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
MLFLOW = DataSourceRef(type_val="grafana-postgresql-datasource", uid="mlflow")
"""The uids are those of ../grafana/provisioning/datasources."""


def rate(metric: str, *filters: str, by: str) -> str:
    """How fast a counter grows, in 1/s, over the interval that the panel's width suggests."""
    return f"sum by ({by}) (rate({metric}{{{','.join(filters)}}}[$__rate_interval]))"


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked; `legend` names a series by its labels: `{{model}}`."""

    expr: str
    legend: str = ""

    def target(self, position: int = 0) -> Builder[PrometheusDataquery]:
        """As one of a panel's queries, over time."""
        return self._named(position).range()

    def table(self) -> Builder[PrometheusDataquery]:
        """As a table of the series of now."""
        return self._named(0).instant().format(PromQueryFormat.TABLE)

    def _named(self, position: int) -> prometheus.Dataquery:
        name = chr(ord("A") + position)
        return prometheus.Dataquery().ref_id(name).expr(self.expr).legend_format(self.legend)


@dataclass(frozen=True)
class Sql(Builder[Dataquery]):
    """What MLflow's database is asked.

    `series`: the answer has the columns `time`, `metric` (the series' name) and `value`; else it
    is a table.
    """

    text: str
    series: bool = False

    def build(self) -> Dataquery:
        return _SqlTarget(self)


class _SqlTarget(Dataquery):
    """The SDK has no type for this data source."""

    def __init__(self, query: Sql) -> None:
        self._query = query

    def to_json(self) -> dict[str, object]:
        return {
            "refId": "A",
            "datasource": MLFLOW,
            "format": "time_series" if self._query.series else "table",
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": self._query.text,
        }
