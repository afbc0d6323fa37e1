"""The service: is it up, is it fast, is it full, and what is wrong?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.monitoring.dashboards.dashboard import dashboard, labels
from deploy.monitoring.dashboards.panel import THIRD, lines, number, rows
from deploy.monitoring.dashboards.query import Query, rate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.stat import Panel as Number
    from grafana_foundation_sdk.builders.table import Panel as Table
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.dashboard import Dashboard

OBJECTIVE = 0.001
"""The share of requests that may fail, as in ../prometheus/rules/alerts.yml."""
_MODEL = 'model=~"$model"'
_INSTANCE = 'instance=~"$instance"'
_RATE = "job_model_version_status:trainyard_requests:rate5m"
_FAILED = "job:trainyard_requests_failed"
_SECONDS = "job_model_version:trainyard_request_seconds"


def service() -> Dashboard:
    """Of every model and server, or of some."""
    return dashboard(
        "service",
        "Trainyard: service",
        {
            "Now": _now(),
            "Requests": _requests(),
            "Time": _time(),
            "Batches and queue": _queue(),
            "Processes and models": [*_processes(), *_models()],
        },
        variables=[
            labels("model", "trainyard_model_info"),
            labels("instance", "trainyard_queue_depth"),
        ],
    )


def _now() -> list[Number]:
    spent = (
        f"sum_over_time({_FAILED}:rate5m[30d]) / sum_over_time(job:trainyard_requests:rate5m[30d])"
    )
    return [
        number("Servers that answer", Query('sum(up{job="trainyard"})'), unit="short"),
        number("Requests", Query(f"sum({_RATE}{{{_MODEL}}})"), unit="reqps"),
        number(
            "Requests that fail",
            Query(f"{_FAILED}:ratio_rate5m"),
            unit="percentunit",
            limits=(OBJECTIVE, 14.4 * OBJECTIVE),
            text="5xx, the last 5 minutes, all models. The limits are those of the error budget.",
        ),
        number(
            "Error budget left",
            Query(f"1 - ({spent}) / {OBJECTIVE}"),
            unit="percentunit",
            limits=(0, 0.5),
            falling=True,
            text="Of the last 30 days, as far as Prometheus keeps them; 99.9 % is the objective.",
        ),
        number(
            "99th percentile",
            Query(f"max({_SECONDS}:p99_5m{{{_MODEL}}})"),
            unit="s",
            limits=(0.5, 1),
            text="Of the slowest model.",
        ),
        number(
            "Backlog",
            Query(f"max(job_instance:trainyard_queue_backlog:seconds{{{_INSTANCE}}})"),
            unit="s",
            limits=(0.5, 1),
            text="What the workers need for what waits, on the fullest server.",
        ),
    ]


def _requests() -> list[Graph]:
    return [
        lines(
            "Requests by status",
            Query(f"sum by (status) ({_RATE}{{{_MODEL}}})", "{{status}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Refusals and failures by kind",
            Query(
                rate(
                    *("trainyard_requests_total", 'error!=""', _MODEL, _INSTANCE),
                    by="error, status",
                ),
                "{{status}} {{error}}",
            ),
            unit="reqps",
            text="On all routes; `error` is the code in the answer's body.",
        ),
        lines(
            "Requests by model and version",
            Query(f"sum by (model, version) ({_RATE}{{{_MODEL}}})", "{{model}} {{version}}"),
            unit="reqps",
        ),
        lines(
            "Share of requests that fail",
            Query(f"{_FAILED}:ratio_rate5m", "5 minutes"),
            Query(f"{_FAILED}:ratio_rate1h", "1 hour"),
            Query(f"{_FAILED}:ratio_rate6h", "6 hours"),
            Query(f"{_FAILED}:ratio_rate3d", "3 days"),
            unit="percentunit",
            text="All models; the windows of the alerts on the error budget.",
        ),
    ]


def _time() -> list[Graph]:
    def phases(quantity: str, by: str) -> str:
        return rate(f"trainyard_phase_seconds_{quantity}", _MODEL, _INSTANCE, by=by)

    return [
        lines(
            "Time of a request",
            *(
                Query(
                    f"{_SECONDS}:p{quantile}_5m{{{_MODEL}}}",
                    f"p{quantile} {{{{model}}}} {{{{version}}}}",
                )
                for quantile in (50, 95, 99)
            ),
            unit="s",
            text="Answers with status 200, from the headers to the answer.",
        ),
        lines(
            "Mean time by phase",
            Query(f"{phases('sum', 'phase')} / {phases('count', 'phase')}", "{{phase}}"),
            unit="s",
            stacked=True,
            text="decode: read, parse, preprocess. queue: wait for a worker and for company.",
        ),
        lines(
            "95th percentile by phase",
            Query(f"histogram_quantile(0.95, {phases('bucket', 'phase, le')})", "{{phase}}"),
            unit="s",
        ),
        lines(
            "Requests in flight",
            Query(
                f"sum by (model) (trainyard_requests_in_flight{{{_MODEL},{_INSTANCE}}})",
                "{{model}}",
            ),
            unit="short",
        ),
    ]


def _queue() -> list[Graph]:
    def each(metric: str) -> str:
        return rate(metric, _MODEL, _INSTANCE, by="model")

    return [
        lines(
            "Samples predicted",
            Query(each("trainyard_samples_total"), "{{model}}"),
            unit="cps",
            width=THIRD,
        ),
        lines(
            "Samples in a batch",
            Query(
                f"{each('trainyard_batch_size_sum')} / {each('trainyard_batch_size_count')}",
                "{{model}}",
            ),
            unit="short",
            width=THIRD,
            text="Mean. The largest is --batch-size; 1 under load means that nothing is batched.",
        ),
        lines(
            "Time that workers compute",
            Query(
                rate("trainyard_batch_seconds_total", _INSTANCE, by="instance"),
                "{{instance}}",
            ),
            unit="percentunit",
            width=THIRD,
            text="100 % is one batch after another; a worker with several streams may have more.",
        ),
        lines(
            "Samples that wait",
            Query(f"sum by (instance) (trainyard_queue_depth{{{_INSTANCE}}})", "{{instance}}"),
            unit="short",
            width=THIRD,
        ),
        lines(
            "Samples that never ran",
            Query(
                rate("trainyard_dropped_total", _INSTANCE, by="reason"),
                "{{reason}}",
            ),
            unit="cps",
            width=THIRD,
            text="rejected: the queue was full. expired: too late. cancelled: nobody waits.",
        ),
        lines(
            "Preprocessed inputs found in the cache",
            Query(
                f"{each('trainyard_cache_hits_total')} / "
                f"({each('trainyard_cache_hits_total')} + {each('trainyard_cache_misses_total')})",
                "{{model}}",
            ),
            unit="percentunit",
            width=THIRD,
            text="Only with --cache-mb.",
        ),
    ]


def _processes() -> list[Graph]:
    return [
        lines(
            "Processes that died and were replaced",
            Query(
                f"sum by (instance, kind) (trainyard_process_deaths_total{{{_INSTANCE}}})",
                "{{instance}} {{kind}}",
            ),
            unit="short",
            width=THIRD,
            text="Since the server was started.",
        ),
        lines(
            "Age of what is known of the registry",
            Query(f"trainyard_registry_age_seconds{{{_INSTANCE}}}", "{{instance}}"),
            unit="s",
            width=THIRD,
        ),
        lines(
            "Size of the caches",
            Query(f"sum by (instance) (trainyard_cache_bytes{{{_INSTANCE}}})", "{{instance}}"),
            unit="bytes",
            width=THIRD,
        ),
    ]


def _models() -> list[Table]:
    held = (
        "count by (model, version, variant, engine, provider) "
        f"(trainyard_model_info{{{_MODEL},{_INSTANCE}}} == 1)"
    )
    last = (
        "time() - max by (model, version, variant) "
        f"(trainyard_last_inference_timestamp_seconds{{{_MODEL},{_INSTANCE}}})"
    )
    return [
        rows("Models held", Query(held), text="Value: servers that hold it."),
        rows("Models last used", Query(last), text="Value: seconds since then."),
    ]
