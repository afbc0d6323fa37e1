"""A model's statistics in the Open Inference Protocol's words, added up over all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.scrape import key, samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.metrics_core import Metric

    from serving.served_model import ModelKey

_PHASES = {"queue": "queue", "compute_input": "decode", "compute_infer": "infer",
           "compute_output": "encode"}  # fmt: skip


def model_statistics(families: Sequence[Metric], model: ModelKey) -> dict[str, Any]:
    """One entry of "model_stats": counts, and durations in nanoseconds."""

    def total(name: str, **wanted: str) -> float:
        return sum(
            value
            for labels, value in samples(families, name)
            if key(labels) == model and all(labels.get(k) == v for k, v in wanted.items())
        )

    def failed(name: str) -> float:
        return total(name) - total(name, status="200")

    def duration(count: float, seconds: float) -> dict[str, int]:
        return {"count": int(count), "ns": int(seconds * 1e9)}

    request, phase = "trainyard_request_seconds", "trainyard_phase_seconds"
    last = (
        value
        for labels, value in samples(families, "trainyard_last_inference_timestamp_seconds")
        if key(labels) == model
    )
    return {
        "name": model[0],
        "version": model[1],
        "last_inference": int(max(last, default=0) * 1000),
        "inference_count": int(total("trainyard_samples_total")),
        "execution_count": int(total("trainyard_batches_total")),
        "inference_stats": {
            "success": duration(
                total(f"{request}_count", status="200"), total(f"{request}_sum", status="200")
            ),
            "fail": duration(failed(f"{request}_count"), failed(f"{request}_sum")),
            **{
                name: duration(total(f"{phase}_count", phase=own), total(f"{phase}_sum", phase=own))
                for name, own in _PHASES.items()
            },
            # Of preprocessed inputs, not of answers; what a look takes is part of compute_input.
            "cache_hit": duration(total("trainyard_cache_hits_total"), 0),
            "cache_miss": duration(total("trainyard_cache_misses_total"), 0),
        },
        "batch_stats": _batches(families, model),
    }


def _batches(families: Sequence[Metric], model: ModelKey) -> list[dict[str, Any]]:
    """Executions by batch size; only the engine's own time is known of a whole batch."""
    counts: dict[int, float] = {}
    seconds: dict[int, float] = {}
    for name, found in (("batches", counts), ("batch_seconds", seconds)):
        for labels, value in samples(families, f"trainyard_{name}_total"):
            if key(labels) == model:
                size = int(labels["size"])
                found[size] = found.get(size, 0) + value
    return [
        {
            "batch_size": size,
            "compute_input": {"count": int(count), "ns": 0},
            "compute_infer": {"count": int(count), "ns": int(seconds.get(size, 0) * 1e9)},
            "compute_output": {"count": int(count), "ns": 0},
        }
        for size, count in sorted(counts.items())
    ]
