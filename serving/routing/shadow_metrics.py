"""ShadowMetrics: how shadows do, apart from everything that is counted of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.metrics import SECONDS

if TYPE_CHECKING:
    from serving.routing.comparison import Comparison

ANSWERED, FAILED = "answered", "failed"
DIVERGENCES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 100.0)


class Pair(NamedTuple):
    """Who is compared: the labels of each metric."""

    model: str
    version: str
    """Who has answered."""
    shadow: str
    """The version that was asked along."""


class ShadowMetrics:
    """Of one API process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "trainyard_shadow_requests",
            "Requests that a shadow was asked as well, by outcome: answered or failed.",
            (*Pair._fields, "outcome"),
            registry=registry,
        )
        self._dropped = Counter(
            "trainyard_shadow_dropped",
            "Requests that a shadow was to be asked, and was not: it had enough to do.",
            (*Pair._fields, "reason"),
            registry=registry,
        )
        self._agreement = Counter(
            "trainyard_shadow_agreement",
            "Samples by whether the shadow found the same label (yes or no).",
            (*Pair._fields, "same"),
            registry=registry,
        )
        self._divergence = Histogram(
            "trainyard_shadow_divergence",
            "How far the shadow's answers are apart, by what is compared, a value a sample.",
            (*Pair._fields, "output"),
            buckets=DIVERGENCES,
            registry=registry,
        )
        self._seconds = Histogram(
            "trainyard_shadow_seconds",
            "How long the shadow's engine took for a batch that a request was in.",
            Pair._fields,
            buckets=SECONDS,
            registry=registry,
        )

    def dropped(self, pair: Pair, reason: str) -> None:
        """A request was not given to the shadow, or too late."""
        self._dropped.labels(*pair, reason).inc()

    def failed(self, pair: Pair) -> None:
        """The shadow has no answer to what another version has answered."""
        self._requests.labels(*pair, FAILED).inc()

    def answered(self, pair: Pair, found: Comparison, seconds: float) -> None:
        """The shadow's answer was compared; its engine took so long."""
        self._requests.labels(*pair, ANSWERED).inc()
        self._seconds.labels(*pair).observe(seconds)
        if found.agreeing is not None and found.disagreeing is not None:
            self._agreement.labels(*pair, "yes").inc(found.agreeing)
            self._agreement.labels(*pair, "no").inc(found.disagreeing)
        for output, divergences in found.divergences.items():
            histogram = self._divergence.labels(*pair, output)
            for divergence in divergences:
                histogram.observe(divergence)
