"""MetricsCollector: what is counted, right across processes and their respawns.

Every process writes its own files below PROMETHEUS_MULTIPROC_DIR, which must be in the environment
before prometheus_client is first imported; a scrape adds them up.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import MultiProcessValue

from serving.series import buckets, number

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from serving.series import Buckets, Cell
    from serving.served_model import ModelInfo

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PHASES = ("decode", "queue", "infer", "encode")
SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip
SCRAPE_ATTEMPTS = 3
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

_MODEL = ("model", "version", "variant")


class _Pid:
    """This process's number, which each of a request's dozen values would ask the system for."""

    def __init__(self) -> None:
        self._number = os.getpid()
        os.register_at_fork(after_in_child=self._ask)

    def _ask(self) -> None:
        self._number = os.getpid()

    def __call__(self) -> int:
        return self._number


if DIRECTORY_VARIABLE in os.environ:
    values.ValueClass = MultiProcessValue(_Pid())  # type: ignore[no-untyped-call]


@dataclass
class RequestRecord:
    """What is measured of one request; the labels of a model are empty until it is known."""

    route: str
    model: str = ""
    version: str = ""
    variant: str = ""
    samples: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, as far as the request got."""

    @property
    def labels(self) -> tuple[str, str, str]:
        """The model's."""
        return (self.model, self.version, self.variant)


@dataclass
class _RequestSeries:
    """What requests that are alike in all labels are counted in."""

    requests: Cell
    seconds: Buckets
    phases: dict[str, Buckets] = field(default_factory=dict)
    samples: Cell | None = None
    """Where some were predicted."""


class MetricsCollector:
    """The metrics of one process."""

    def __init__(self) -> None:
        # Its own registry: metrics are found by their files, not by the process that asks.
        registry = CollectorRegistry()
        self._batch_lock = threading.Lock()
        self._numbers: dict[tuple[Counter | Gauge, tuple[str, ...]], Cell] = {}
        self._of_requests: dict[tuple[str | int, ...], _RequestSeries] = {}
        self._histograms: dict[tuple[Histogram, tuple[str, ...]], Buckets] = {}
        self._requests = Counter(
            "trainyard_requests",
            "Requests answered, by HTTP status and kind of error ('' for success).",
            ("route", *_MODEL, "status", "error"),
            registry=registry,
        )
        self._seconds = Histogram(
            "trainyard_request_seconds",
            "From the request's headers to its answer.",
            ("route", *_MODEL, "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self._phases = Histogram(
            "trainyard_phase_seconds",
            "Parts of a prediction: decode (read, parse, preprocess), queue, infer, encode.",
            ("phase", *_MODEL),
            buckets=SECONDS,
            registry=registry,
        )
        self._samples = Counter(
            "trainyard_samples",
            "Samples predicted.",
            _MODEL,
            registry=registry,
        )
        self._batches = Histogram(
            "trainyard_batch_size",
            "Samples that ran at once.",
            _MODEL,
            buckets=SIZES,
            registry=registry,
        )
        self._executions = Counter(
            "trainyard_batches",
            "Batches that ran, by their number of samples.",
            (*_MODEL, "size"),
            registry=registry,
        )
        self._execution_seconds = Counter(
            "trainyard_batch_seconds",
            "How long those batches ran altogether.",
            (*_MODEL, "size"),
            registry=registry,
        )
        self._last = Gauge(
            "trainyard_last_inference_timestamp_seconds",
            "When the model last ran.",
            _MODEL,
            multiprocess_mode="max",
            registry=registry,
        )
        self._in_flight = Gauge(
            "trainyard_requests_in_flight",
            "Requests for the model that are not answered yet.",
            _MODEL,
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._depth = Gauge(
            "trainyard_queue_depth",
            "Samples that wait for a worker.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._dropped = Counter(
            "trainyard_dropped",
            "Samples that left the queue without running: rejected, expired or cancelled.",
            ("reason",),
            registry=registry,
        )
        self._models = Gauge(
            "trainyard_model_info",
            "1 for each model that a worker holds.",
            (*_MODEL, "engine", "provider"),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._polled = Gauge(
            "trainyard_registry_polled_timestamp_seconds",
            "When the registry was last asked with success.",
            multiprocess_mode="max",
            registry=registry,
        )
        self._shares = Gauge(
            "trainyard_route_percent",
            "Share of a model's requests that a version is to answer, in percent.",
            ("model", "version"),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._withdrawn = Counter(
            "trainyard_rollbacks",
            "Challengers that lost their traffic because they did worse than the champion.",
            ("model", "version"),
            registry=registry,
        )
        self._cache_hits = Counter(
            "trainyard_cache_hits",
            "Samples whose tensors were in the cache of preprocessed inputs.",
            _MODEL,
            registry=registry,
        )
        self._cache_misses = Counter(
            "trainyard_cache_misses",
            "Samples that were preprocessed and put into the cache.",
            _MODEL,
            registry=registry,
        )
        self._cache_bytes = Gauge(
            "trainyard_cache_bytes",
            "Size of the caches of preprocessed inputs.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._deaths = Counter(
            "trainyard_process_deaths",
            "Processes that ended unasked and were replaced.",
            ("kind",),
            registry=registry,
        )

    def request(self, record: RequestRecord, *, status: int, error: str, seconds: float) -> None:
        """One request was answered."""
        labels = (record.route, record.model, record.version, record.variant, status, error)
        series = self._of_requests.get(labels)
        if series is None:
            series = self._of_requests[labels] = self._series(record, status, error)
        series.requests.inc(1)
        series.seconds.observe(seconds)
        for phase, duration in record.phases.items():
            found = series.phases.get(phase)
            if found is None:
                found = self._buckets(self._phases, phase, *record.labels)
                series.phases[phase] = found
            found.observe(duration)
        if record.samples and status == 200:
            if series.samples is None:
                series.samples = self._number(self._samples, *record.labels)
            series.samples.inc(record.samples)

    def _series(self, record: RequestRecord, status: int, error: str) -> _RequestSeries:
        model = record.labels
        return _RequestSeries(
            self._number(self._requests, record.route, *model, str(status), error),
            self._buckets(self._seconds, record.route, *model, str(status)),
        )

    def in_flight(self, record: RequestRecord) -> Cell:
        """How many requests for the record's model are with the workers."""
        return self._number(self._in_flight, *record.labels)

    def _number(self, metric: Counter | Gauge, *labels: str) -> Cell:
        """Of the metric with these labels, which prometheus_client takes long to find."""
        found = self._numbers.get((metric, labels))
        if found is None:
            one = metric.labels(*labels) if labels else metric
            found = self._numbers[metric, labels] = number(one)
        return found

    def _buckets(self, metric: Histogram, *labels: str) -> Buckets:
        found = self._histograms.get((metric, labels))
        if found is None:
            found = self._histograms[metric, labels] = buckets(metric.labels(*labels))
        return found

    def batch(self, model: tuple[str, str, str], samples: int, seconds: float) -> None:
        """A batch of that many samples ran for so long, on whatever thread."""
        with self._batch_lock:
            self._buckets(self._batches, *model).observe(samples)
            self._number(self._executions, *model, str(samples)).inc(1)
            self._number(self._execution_seconds, *model, str(samples)).inc(seconds)
            self._number(self._last, *model).set(time.time())

    def queue_depth(self, samples: int) -> None:
        """That many samples wait in this process."""
        self._number(self._depth).set(samples)

    def dropped(self, reason: str, samples: int) -> None:
        """Samples left the queue without running."""
        self._number(self._dropped, reason).inc(samples)

    def cache(self, model: tuple[str, str, str], *, hit: bool) -> None:
        """A sample was looked up in the cache of preprocessed inputs, by whatever thread."""
        (self._cache_hits if hit else self._cache_misses).labels(*model).inc()

    def cache_bytes(self, size: int) -> None:
        """The cache of this process holds that much."""
        self._cache_bytes.set(size)

    def model(self, info: ModelInfo, *, held: bool = True) -> None:
        """This process holds the model, or does so no longer."""
        self._models.labels(info.name, info.version, info.variant, info.engine, info.provider).set(
            int(held)
        )

    def registry_polled(self, when: float) -> None:
        """The registry answered at that time, in seconds since the epoch."""
        self._polled.set(when)

    def route(self, model: str, version: str, percent: float) -> None:
        """The version answers that share of the model's requests."""
        self._shares.labels(model, version).set(percent)

    def withdrawn(self, model: str, version: str) -> None:
        """The challenger did worse than the champion, and lost its traffic."""
        self._withdrawn.labels(model, version).inc()

    def death(self, kind: str, pid: int) -> None:
        """A process of that kind died; what it counted stays, what it held goes."""
        self._deaths.labels(kind).inc()
        self.left(pid)

    def left(self, pid: int) -> None:
        """A process ended as it was told."""
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


class UncountedWork(MetricsCollector):
    """Of a worker that nobody waits for: what it does is no work of the server's, and its queue is
    not the one that requests wait in.
    """

    def batch(self, model: tuple[str, str, str], samples: int, seconds: float) -> None:
        """Not counted."""

    def queue_depth(self, samples: int) -> None:
        """Not counted."""

    def dropped(self, reason: str, samples: int) -> None:
        """Not counted."""


def collect() -> list[Metric]:
    """The sums over all processes, dead ones included."""
    folder = Path(os.environ[DIRECTORY_VARIABLE])
    for attempt in range(SCRAPE_ATTEMPTS):
        try:
            # A process has a file without any bytes for an instant, or was killed in that instant.
            files = [str(path) for path in folder.glob("*.db") if path.stat().st_size]
            return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
        except (OSError, struct.error, ValueError):
            # A process has just gone, and with it a file that was being read.
            if attempt == SCRAPE_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")
