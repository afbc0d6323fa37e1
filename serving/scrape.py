"""What a scrape of /metrics sees: our metrics, and Triton's names for the same numbers.

Dashboards and perf_analyzer know the latter (https://github.com/triton-inference-server/server,
docs/user_guide/metrics.md). They are worked out when somebody asks, and cost a request nothing.
"""

from __future__ import annotations

import functools
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from serving.gpu_metrics import GpuMetrics
from serving.metrics import DIRECTORY_VARIABLE, collect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ModelLabels = tuple[str, str]
"""A model's name and version."""

_REASONS = {"overloaded": "REJECTED", "client_gone": "CANCELED", "model_failed": "BACKEND"}
_DURATIONS = {"queue": "queue", "decode": "compute_input", "infer": "compute_infer",
              "encode": "compute_output"}  # fmt: skip


class Scrape:
    """All metrics as they were at one time."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families
        self._texts: dict[str, bytes] = {}

    def collect(self) -> list[Metric]:
        """What makes it a registry to an encoder."""
        return self.families

    def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their Content-Type, in the format that `accept` asks for."""
        encoder, content_type = choose_encoder(accept)
        if content_type not in self._texts:
            self._texts[content_type] = encoder(self)
        return self._texts[content_type], content_type


def gather() -> Scrape:
    """All metrics as they are now."""
    families = collect()
    gpus = _gpu_metrics(os.environ[DIRECTORY_VARIABLE]).collect()
    return Scrape([*families, *registry_age(families), *triton_metrics(families), *gpus])


@functools.cache
def _gpu_metrics(directory: str) -> GpuMetrics:
    """One a process: the driver is opened once."""
    return GpuMetrics(Path(directory))


def registry_age(families: Iterable[Metric]) -> list[Metric]:
    """Seconds since the registry was last asked with success, which grow by themselves; nothing
    where it never was.
    """
    for family in families:
        polled = max((sample.value for sample in family.samples), default=0.0)
        if family.name == "trainyard_registry_polled_timestamp_seconds" and polled:
            age = Metric(
                "trainyard_registry_age_seconds",
                "Seconds since the registry was last asked with success.",
                "gauge",
            )
            age.add_sample(age.name, {}, max(0.0, time.time() - polled))
            return [age]
    return []


def samples(families: Iterable[Metric], name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every sample of that name that belongs to a model."""
    for family in families:
        for sample in family.samples:
            if sample.name == name and sample.labels.get("model"):
                yield sample.labels, sample.value


def triton_metrics(families: Iterable[Metric]) -> list[Metric]:
    """The same numbers under Triton's names, by model and version."""
    families = list(families)
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    for labels, value in samples(families, "trainyard_requests_total"):
        if labels["status"] == "200":
            found["nv_inference_request_success"][key(labels)] += value
        else:
            reason = _REASONS.get(labels["error"], "OTHER")
            found["nv_inference_request_failure"][*key(labels), reason] += value
    for labels, value in samples(families, "trainyard_samples_total"):
        found["nv_inference_count"][key(labels)] += value
    for labels, value in samples(families, "trainyard_batches_total"):
        found["nv_inference_exec_count"][key(labels)] += value
    for kind in ("hits", "misses"):
        for labels, value in samples(families, f"trainyard_cache_{kind}_total"):
            found[f"nv_cache_num_{kind}_per_model"][key(labels)] += value
    for labels, value in samples(families, "trainyard_requests_in_flight"):
        found["nv_inference_pending_request_count"][key(labels)] += value
    for labels, value in samples(families, "trainyard_request_seconds_sum"):
        if labels["status"] == "200":
            found["nv_inference_request_duration_us"][key(labels)] += value * 1e6
    for labels, value in samples(families, "trainyard_phase_seconds_sum"):
        name = f"nv_inference_{_DURATIONS[labels['phase']]}_duration_us"
        found[name][key(labels)] += value * 1e6
    return [_metric(name, values) for name, values in sorted(found.items())]


def key(labels: dict[str, str]) -> ModelLabels:
    """A model's name and version; its variants are added up."""
    return labels["model"], labels["version"]


def _metric(name: str, values: dict[tuple[str, ...], float]) -> Metric:
    # Not a counter to the client library, which would add "_total" to Triton's name.
    metric = Metric(
        name, f"As Triton counts {name.removeprefix('nv_').removeprefix('inference_')}.", "unknown"
    )
    for found, value in values.items():
        labels = dict(zip(("model", "version", "reason"), found, strict=False))
        metric.add_sample(name, labels, value)
    return metric
