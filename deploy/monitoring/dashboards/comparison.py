"""Versions of a model beside each other: is the challenger as good as the champion?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.monitoring.dashboards.dashboard import dashboard, labels
from deploy.monitoring.dashboards.panel import lines, rows
from deploy.monitoring.dashboards.query import Query, rate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.table import Panel as Table
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.dashboard import Dashboard

_MODEL = 'model=~"$model",version!=""'
_RATE = "job_model_version_status:trainyard_requests:rate5m"
_FAILURES = "job_model_version:trainyard_version_failures:ratio_rate5m"
_INFER = "job_model_version:trainyard_infer_seconds:p95_5m"
_NAME = "{{model}} {{version}}"


def comparison() -> Dashboard:
    """Of the versions that answer under a split."""
    return dashboard(
        "comparison",
        "Trainyard: versions compared",
        {
            "Traffic": _traffic(),
            "Quality": _quality(),
            "Load": _load(),
            "Rollbacks": [_rollbacks()],
        },
        variables=[labels("model", "trainyard_route_percent")],
    )


def _traffic() -> list[Graph]:
    share = (
        f"sum by (model, version) ({_RATE}{{{_MODEL}}}) / on (model) group_left "
        f"sum by (model) ({_RATE}{{{_MODEL}}})"
    )
    return [
        lines(
            "Share that each version is to have",
            Query(f"max by (model, version) (trainyard_route_percent{{{_MODEL}}}) / 100", _NAME),
            unit="percentunit",
            text="Of the servers that have switched; where they differ, the largest.",
        ),
        lines(
            "Share that each version has",
            Query(share, _NAME),
            unit="percentunit",
            text="Requests that name a version count as well.",
        ),
    ]


def _quality() -> list[Graph]:
    best = f"min by (model) ({_INFER}{{{_MODEL}}})"
    return [
        lines(
            "Share of requests that fail",
            Query(f"max by (model, version) ({_FAILURES}{{{_MODEL}}})", _NAME),
            unit="percentunit",
            text="500 and 504, which is what the guardrail counts.",
        ),
        lines(
            "95th percentile in the engine",
            Query(f"max by (model, version) ({_INFER}{{{_MODEL}}})", _NAME),
            unit="s",
            text="Without the queue, which all versions share.",
        ),
        lines(
            "95th percentile in the engine, over that of the fastest",
            Query(
                f"max by (model, version) ({_INFER}{{{_MODEL}}}) / on (model) group_left {best}",
                _NAME,
            ),
            unit="short",
            text="The guardrail rolls back what is surely beyond 1.3 times the champion.",
        ),
        lines(
            "95th percentile of a request",
            Query(
                "max by (model, version) "
                f"(job_model_version:trainyard_request_seconds:p95_5m{{{_MODEL}}})",
                _NAME,
            ),
            unit="s",
            text="As the client sees it.",
        ),
    ]


def _load() -> list[Graph]:
    def each(metric: str) -> str:
        return rate(metric, _MODEL, by="model, version")

    return [
        lines(
            "Requests", Query(f"sum by (model, version) ({_RATE}{{{_MODEL}}})", _NAME), unit="reqps"
        ),
        lines(
            "Time of the engine for one sample",
            Query(
                f"{each('trainyard_batch_seconds_total')} / {each('trainyard_samples_total')}",
                _NAME,
            ),
            unit="s",
            text="What a version costs, whatever its batches.",
        ),
    ]


def _rollbacks() -> Table:
    expression = f"sum by (model, version) (trainyard_rollbacks_total{{{_MODEL}}})"
    return rows(
        "Rolled back by the guardrail",
        Query(expression),
        text="Value: how often. Each is a line of the server's log, which says why.",
    )
