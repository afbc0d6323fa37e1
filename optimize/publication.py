"""Publication: a bundle becomes a version in the registry, and its gate's findings metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlflow.entities import Metric

from bundle.errors import NotFoundError, RegistryError
from bundle.registry import ModelRegistry
from bundle.registry.store import MlflowStore
from bundle.registry.version import EXPORT_METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bundle.archive import Bundle
    from bundle.manifest import Manifest
    from bundle.registry import ModelVersion
    from optimize.progress import StageProgress
    from optimize.timing import Contest

REPORT_FOLDER = "optimize"
"""Of the run's artifacts."""


def register(
    bundle: Bundle,
    *,
    name: str,
    run_id: str | None,
    tracking_uri: str | None,
    progress: StageProgress,
) -> ModelVersion:
    """The new version, linked to the training run where that is known. Raises RegistryError."""
    registry = ModelRegistry(tracking_uri)
    try:
        with progress.stage(f"register {name}"):
            return registry.register(bundle.path, name=name, run_id=run_id)
    except NotFoundError:
        if run_id is None:
            raise
        progress.notice(
            f"the training run {run_id} is not known at {registry.uri}; registered without it"
        )
        return register(
            bundle, name=name, run_id=None, tracking_uri=tracking_uri, progress=progress
        )
    except RegistryError:
        progress.notice(f"the bundle {bundle.path} is complete, but not registered")
        raise


def record(
    version: ModelVersion,
    metrics: Mapping[str, float],
    files: Sequence[Path],
    *,
    tracking_uri: str | None,
) -> None:
    """Metrics and files on the run that holds the version's bundle. Raises RegistryError."""
    if version.run_id is None:
        return
    now = int(time.time() * 1000)
    with MlflowStore(tracking_uri).writing() as client:
        client.log_batch(
            version.run_id,
            metrics=[Metric(key, value, now, version.number) for key, value in metrics.items()],
        )
        for file in files:
            client.log_artifact(version.run_id, str(file), artifact_path=REPORT_FOLDER)


def gate_metrics(manifest: Manifest, contest: Contest | None) -> dict[str, float]:
    """`optimize/<variant>/<what>` → value; what was not measured is not there.

    Their step is the version's number: a run can be exported more than once.
    """
    found: dict[str, float] = {}
    for variant in manifest.variants:
        gate = variant.gate
        values = {
            "certified": float(variant.certified),
            "samples": float(gate.samples),
            "accuracy_delta": gate.delta,
            "accuracy_bound": gate.bound,
            "agreement": gate.agreement,
            "batch_invariant": None if gate.batch_invariant is None else +gate.batch_invariant,
            "bytes": float(variant.bytes) if variant.file else None,
        }
        for size, timing in (
            {} if contest is None else contest.timings.get(variant.name, {})
        ).items():
            values[f"p50_ms_batch_{size}"] = timing.p50_ms
            values[f"p99_ms_batch_{size}"] = timing.p99_ms
            values[f"samples_per_second_batch_{size}"] = timing.samples_per_second
            values[f"speedup_batch_{size}"] = timing.speedup
        prefix = f"{EXPORT_METRICS}{variant.name}/"
        found |= {prefix + key: float(v) for key, v in values.items() if v is not None}
    return found
