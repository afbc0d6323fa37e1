"""Publication: a bundle becomes a folder and a version in the registry, its findings metrics.

Each step accepts what the same export did before it was killed, so that it can be run again.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Metric

from bundle.archive import Bundle, publish_or_reuse, write_bundle
from bundle.errors import NotFoundError, RegistryError, RequestError
from bundle.held import locked
from bundle.publish import staging, sweep_staging
from bundle.registry import ModelRegistry
from bundle.registry.store import MlflowStore
from bundle.registry.version import EXPORT_METRICS
from optimize.request import TAKEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.manifest import Manifest
    from bundle.registry import ModelVersion
    from optimize.progress import StageProgress
    from optimize.timing import Contest

REPORT_FOLDER = "optimize"
"""Of the run's artifacts."""


def write_once(
    output: Path, *, manifest: Manifest, files: Mapping[str, Path | bytes], overwrite: bool
) -> Bundle:
    """As `write_bundle`, and content with a folder that is this very bundle already.

    Raises RequestError where another one lies there.
    """
    target = Path(os.path.realpath(output))
    sweep_staging(target)
    if overwrite:
        return write_bundle(target, manifest=manifest, files=files, overwrite=True)
    with staging(target) as folder:
        made = write_bundle(folder / "bundle", manifest=manifest, files=files)
        try:
            publish_or_reuse(made, target)
        except RequestError as error:
            raise RequestError(
                f"output={output} holds another bundle of this checkpoint",
                field="output",
                remedy=TAKEN,
            ) from error
    return Bundle(target, made.manifest)


def register(
    bundle: Bundle,
    *,
    name: str,
    run_id: str | None,
    tracking_uri: str | None,
    progress: StageProgress,
) -> ModelVersion:
    """The bundle's version, new unless it has one, linked to the training run where that is known.

    Raises RegistryError.
    """
    registry = ModelRegistry(tracking_uri)
    try:
        with locked(bundle.path):  # a registry that is no file here has no lock of its own
            version = registry.registered(bundle, name)
            if version is not None:
                progress.notice(f"this bundle is version {version.number} of {name} already")
                return version
            with progress.stage(f"register {name}"):
                return registry.register(bundle.path, name=name, run_id=run_id, again=False)
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
    progress: StageProgress,
) -> None:
    """Metrics and files on the run that holds the version's bundle. Raises RegistryError."""
    if version.run_id is None:
        return
    now = int(time.time() * 1000)
    found = [Metric(key, value, now, version.number) for key, value in metrics.items()]
    try:
        with MlflowStore(tracking_uri).writing() as client:
            client.log_batch(version.run_id, metrics=found)
            for file in files:
                client.log_artifact(version.run_id, str(file), artifact_path=REPORT_FOLDER)
    except RegistryError:
        progress.notice(
            f"version {version.number} of {version.name} is registered, but its metrics and its "
            "report are not recorded: run the same command again"
        )
        raise


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
        timings = {} if contest is None else contest.timings.get(variant.name, {})
        if contest is not None and timings:
            values["load_of_others"] = contest.load["others"]
            values["machine_busy"] = float(contest.busy)
        for size, timing in timings.items():
            values[f"p50_ms_batch_{size}"] = timing.p50_ms
            values[f"p99_ms_batch_{size}"] = timing.p99_ms
            values[f"samples_per_second_batch_{size}"] = timing.samples_per_second
            values[f"speedup_batch_{size}"] = timing.speedup
        prefix = f"{EXPORT_METRICS}{variant.name}/"
        found |= {prefix + key: float(v) for key, v in values.items() if v is not None}
    return found
