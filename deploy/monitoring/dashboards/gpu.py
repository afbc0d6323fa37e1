"""GPUs, of the servers and of training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.monitoring.dashboards.dashboard import dashboard, labels
from deploy.monitoring.dashboards.panel import lines
from deploy.monitoring.dashboards.query import Query
from deploy.monitoring.dashboards.training import metric, runs_to_choose

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.dashboard import Dashboard

_GPU = '{instance=~"$instance",gpu_uuid=~"$gpu_uuid"}'
_NAME = "{{instance}} {{gpu_uuid}}"


def gpu() -> Dashboard:
    """What NVIDIA's driver says; empty without one."""
    return dashboard(
        "gpu",
        "Trainyard: GPUs",
        {"Serving": _serving(), "Training": _training()},
        variables=[
            labels("instance", "nv_gpu_utilization"),
            labels("gpu_uuid", "nv_gpu_utilization"),
            *runs_to_choose(),
        ],
    )


def _serving() -> list[Graph]:
    return [
        lines("Utilisation", Query(f"nv_gpu_utilization{_GPU}", _NAME), unit="percentunit"),
        lines(
            "Memory in use",
            Query(f"nv_gpu_memory_used_bytes{_GPU}", _NAME),
            Query(f"max(nv_gpu_memory_total_bytes{_GPU})", "the largest GPU has"),
            unit="bytes",
            text="By whatever process.",
        ),
        lines(
            "Share of memory in use",
            Query(f"job_instance_gpu:nv_gpu_memory_used:ratio{_GPU}", _NAME),
            unit="percentunit",
        ),
        lines("Temperature", Query(f"nv_gpu_temperature_celsius{_GPU}", _NAME), unit="celsius"),
        lines(
            "Power",
            Query(f"nv_gpu_power_usage{_GPU}", _NAME),
            Query(f"max(nv_gpu_power_limit{_GPU})", "limit"),
            unit="watt",
        ),
        lines(
            "Energy for a thousand samples",
            Query(
                "1000 * sum by (instance) (rate(nv_energy_consumption"
                f"{_GPU}[$__rate_interval])) / "
                'sum by (instance) (rate(trainyard_samples_total{instance=~"$instance"}'
                "[$__rate_interval]))",
                "{{instance}}",
            ),
            unit="joule",
            text="All GPUs of a server together, idle time included.",
        ),
    ]


def _training() -> list[Graph]:
    return [
        metric("Utilisation", "system/gpu_%_utilization_percentage", unit="percent"),
        metric("Memory in use", "system/gpu_%_memory_usage_megabytes", unit="decmbytes"),
    ]
