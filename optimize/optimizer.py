"""ModelOptimizer: the straight line from a checkpoint to a registered bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle.manifest import Manifest
from bundle.registry.store import MlflowStore
from optimize import lineage
from optimize.cache import ContentCache
from optimize.findings import Findings, standings
from optimize.folders import REPORT
from optimize.golden import Answering, make_golden
from optimize.held_out import SPLITS
from optimize.measure import hold_contest
from optimize.page import write_report
from optimize.publication import gate_metrics, record, register, write_once
from optimize.recipe import Recipe, recipes_for
from optimize.reference import torch_threads
from optimize.request import (
    cache_folder,
    check_length,
    checked_name,
    chosen_recipes,
    free_output,
    given_output,
    registered_name,
)
from optimize.schema import Target
from optimize.scratch import scratch
from optimize.select import choose
from optimize.source import locate
from optimize.subject import load_subject
from optimize.target import ResolvedTarget, resolve_target
from optimize.variants import FP32, shipped
from optimize.workshop import CPU, Workshop
from trainer.restore import restore

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.archive import Bundle
    from bundle.registry import ModelVersion
    from optimize.progress import StageProgress
    from optimize.schema import ExportConfig
    from optimize.subject import Subject
    from optimize.variants import Candidate
    from trainer.restore import Restored

Recipes = Callable[[Target, str], Sequence[Recipe]]
"""From a target and a task to what is tried."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an export leaves behind, and what it showed."""

    bundle: Bundle
    findings: Findings
    version: ModelVersion | None
    """None if the bundle was not registered."""
    report: Path | None
    """Its page, report.md; None for fp32 alone, of which there is nothing to compare."""
    cache_bytes: int
    cache_folder: str | None


class ModelOptimizer:
    """Runs one export. Until everything is proved, nothing is published.

    Run again after a kill it goes on where it was, also between the folder and the registry.
    """

    def __init__(
        self,
        config: ExportConfig,
        *,
        progress: StageProgress,
        recipes: Recipes | None = None,
    ) -> None:
        """`recipes`: None tries those that this project has."""
        self._config = config
        self._settings = config.optimize
        self._progress = progress
        self._recipes = recipes or functools.partial(
            recipes_for, calibration=config.optimize.calibration
        )
        self._cache = ContentCache(cache_folder(self._settings))

    def run(self) -> Outcome:
        """Raises TrainyardError, whatever is wrong.

        The output folder is then as it was, unless it is the registry that fails.
        """
        given_output(self._config)
        registered = registered_name(self._config)
        if registered is not None:
            MlflowStore(self._config.tracking.uri).check_writable()
        with (
            scratch("export") as workspace,
            torch_threads(self._settings.threads),
        ):
            restored = self._restore(workspace)
            target = self._target()
            name = self._name(restored)
            output = free_output(self._config, name, checkpoint_sha256=restored.sha256)
            suitable = self._recipes(target.actual, restored.task)
            recipes = chosen_recipes(suitable, self._settings, target=target)
            subject = self._load(restored)
            if target.actual is not Target.none:
                check_length(self._settings, subject.max_length)
            workshop = Workshop(
                subject,
                self._settings,
                provider=target.provider,
                folder=workspace,
                cache=self._cache,
                progress=self._progress,
            )
            findings = self._find(subject, workshop, target, recipes)
            bundle = self._write(name, output, subject, workshop, findings)
        self._cache.shrink(self._settings.cache.max_gb * 1e9)
        files: list[Path] = []
        if findings.target.actual is not Target.none:
            with self._progress.stage("write the report"):
                folder_of_report = bundle.path.with_name(bundle.path.name + REPORT)
                files = write_report(folder_of_report, bundle.manifest, findings)
        version = None
        if registered is not None:
            version = self._publish(bundle, findings, registered or name, restored, files)
        return Outcome(
            bundle=bundle,
            findings=findings,
            version=version,
            report=files[0] if files else None,
            cache_bytes=self._cache.bytes_used(),
            cache_folder=self._settings.cache.folder,
        )

    def _restore(self, workspace: Path) -> Restored:
        config = self._config
        with self._progress.stage("read the checkpoint"):
            path = locate(
                checkpoint=config.checkpoint,
                run=config.run,
                version=config.version,
                tracking_uri=config.tracking.uri,
                workspace=workspace,
            )
            return restore(path)

    def _name(self, restored: Restored) -> str:
        given = self._config.name
        return checked_name(str(restored.config.name) if given is None else given, field="name")

    def _target(self) -> ResolvedTarget:
        target = resolve_target(self._config.target)
        if target.notice is not None:
            self._progress.notice(target.notice)
        return target

    def _load(self, restored: Restored) -> Subject:
        settings = self._settings
        with self._progress.stage("load the held-out samples"):
            subject = load_subject(
                restored, max_samples=settings.max_samples, rows=settings.invariance_samples
            )
        if subject.held_out.split != SPLITS[0]:
            self._progress.notice(
                f"the data have no {SPLITS[0]} split: the model is judged on the "
                f"{subject.held_out.split} split"
            )
        trained_on = restored.metadata.get("data_fingerprint")
        if trained_on not in (None, subject.held_out.fingerprint):
            self._progress.notice(
                "the data have changed since the training: the samples that the model is judged "
                "on may be among those that it learned from"
            )
        return subject

    def _find(
        self,
        subject: Subject,
        workshop: Workshop,
        target: ResolvedTarget,
        recipes: Sequence[Recipe],
    ) -> Findings:
        fp32, proof = workshop.exported()
        candidates = [fp32, *workshop.variants(recipes)]
        baselines, contest, occasion = [], None, None
        if target.actual is not Target.none and self._settings.benchmark.enabled:
            baselines = workshop.baselines()
            contest, occasion = hold_contest(
                subject,
                candidates,
                self._settings,
                provider=target.provider,
                cache=self._cache,
                progress=self._progress,
            )
        return Findings(
            target=target,
            proof=proof,
            split=subject.held_out.split,
            checkpoint_bytes=subject.restored.path.stat().st_size,
            candidates=candidates,
            baselines=baselines,
            contest=contest,
            occasion=occasion,
            choice=choose(
                standings(candidates, baselines, contest),
                fallback=FP32,
                margin=self._settings.select.margin,
            ),
        )

    def _write(
        self,
        name: str,
        output: Path,
        subject: Subject,
        workshop: Workshop,
        findings: Findings,
    ) -> Bundle:
        restored, default = subject.restored, findings.choice.name
        with self._progress.stage("write the bundle"):
            golden, files = make_golden(
                subject,
                _answering(findings.candidates, workshop),
                default=default,
                settings=self._settings.golden,
            )
            manifest = Manifest(
                name=name,
                task=restored.task,
                labels=restored.labels,
                inputs=subject.inputs,
                outputs=(subject.output,),
                preprocessing=subject.preprocessor.config,
                default_variant=default,
                variants=tuple(candidate.to_variant() for candidate in findings.candidates),
                golden=golden,
                lineage=lineage.describe_export(
                    subject, findings, lane=workshop.lane, settings=self._settings
                ),
            )
            return write_once(
                output,
                manifest=manifest,
                files={**shipped(findings.candidates), **files, **restored.assets},
                overwrite=self._config.overwrite,
            )

    def _publish(
        self,
        bundle: Bundle,
        findings: Findings,
        name: str,
        restored: Restored,
        files: Sequence[Path],
    ) -> ModelVersion:
        uri = self._config.tracking.uri
        version = register(
            bundle,
            name=name,
            run_id=restored.metadata.get("run_id"),
            tracking_uri=uri,
            progress=self._progress,
        )
        metrics = gate_metrics(bundle.manifest, findings.contest)
        record(version, metrics, files, tracking_uri=uri, progress=self._progress)
        return version


def _answering(candidates: Sequence[Candidate], workshop: Workshop) -> dict[str, Answering]:
    """The variants that have a file; fp32's answers are the CPU's, as its proof is."""
    found: dict[str, Answering] = {}
    for candidate in candidates:
        if candidate.file is None or candidate.graph is None:
            continue
        own = candidate.always_shipped
        found[candidate.name] = Answering(
            load=functools.partial(
                workshop.maker.engine, candidate.graph, provider=CPU if own else None
            ),
            deviation=0.0 if own else candidate.deviation,
        )
    return found
