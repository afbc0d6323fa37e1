"""ModelOptimizer: the straight line from a checkpoint to a registered bundle."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bundle.archive import check_free, write_bundle
from bundle.engine.onnx import OnnxEngine
from bundle.errors import ManifestError, NotFoundError, RegistryError, RequestError
from bundle.manifest import Manifest, Variant, check_model_name
from bundle.registry import ModelRegistry
from optimize import lineage
from optimize.golden import make_golden
from optimize.held_out import SPLITS
from optimize.passes.export import ExportPass, Lane
from optimize.probes import example_batch
from optimize.proof import prove
from optimize.reference import LOGITS, torch_threads
from optimize.schema import Exporter, Target
from optimize.source import locate
from optimize.subject import load_subject
from trainer.restore import restore

if TYPE_CHECKING:
    from bundle.archive import Bundle
    from bundle.registry import ModelVersion
    from optimize.progress import StageProgress
    from optimize.proof import Proof
    from optimize.schema import ExportConfig
    from optimize.subject import Subject
    from trainer.restore import Restored

FP32 = "fp32"
BUNDLES = Path("outputs/bundles")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an export leaves behind, and what it showed."""

    bundle: Bundle
    proof: Proof
    version: ModelVersion | None
    """None if the bundle was not registered."""
    checkpoint_bytes: int


class ModelOptimizer:
    """Runs one export. Until everything is proved, nothing is published."""

    def __init__(self, config: ExportConfig, *, progress: StageProgress) -> None:
        self._config = config
        self._settings = config.optimize
        self._progress = progress

    def run(self) -> Outcome:
        """Raises TrainyardError, whatever is wrong.

        The output folder is then as it was, unless it is the registry that fails.
        """
        registered_name = self._registered_name()
        with (
            tempfile.TemporaryDirectory(prefix="trainyard-export-") as folder,
            torch_threads(self._settings.threads),
        ):
            workspace = Path(folder)
            restored = self._restore(workspace)
            self._tell_target()
            name = _checked_name(self._config.name or str(restored.config.name), field="name")
            output = self._free_output(name, restored.sha256)
            subject = self._load(restored)
            export = self._export_pass(subject)
            graph = workspace / f"{FP32}.onnx"
            self._write_graph(export, subject, graph)
            engine = OnnxEngine(graph, provider="cpu", threads=self._settings.threads)
            proof = prove(
                subject,
                lambda batch: engine.predict_batch(batch)[LOGITS],
                variant=FP32,
                settings=self._settings,
                progress=self._progress,
            )
            with self._progress.stage("write the bundle"):
                golden, files = make_golden(subject, engine, self._settings.golden)
                manifest = Manifest(
                    name=name,
                    task=restored.task,
                    labels=restored.labels,
                    inputs=subject.inputs,
                    outputs=(subject.output,),
                    preprocessing=subject.preprocessor.config,
                    default_variant=FP32,
                    variants=(_fp32_variant(proof, graph.name),),
                    golden=golden,
                    lineage=self._lineage(subject, export, proof),
                )
                bundle = write_bundle(
                    output,
                    manifest=manifest,
                    files={graph.name: graph, **files, **restored.assets},
                    overwrite=self._config.overwrite,
                )
            checkpoint_bytes = restored.path.stat().st_size
        version = None
        if registered_name is not None:
            run_id = restored.metadata.get("run_id")
            version = self._register(bundle, name=registered_name or name, run_id=run_id)
        return Outcome(
            bundle=bundle, proof=proof, version=version, checkpoint_bytes=checkpoint_bytes
        )

    def _restore(self, workspace: Path) -> Restored:
        config = self._config
        with self._progress.stage("read the checkpoint"):
            path = locate(
                checkpoint=config.checkpoint,
                run=config.run,
                tracking_uri=config.tracking.uri,
                workspace=workspace,
            )
            return restore(path)

    def _tell_target(self) -> None:
        if self._config.target is not Target.none:
            self._progress.notice(
                f"target={self._config.target}: quantized variants are not built in this version; "
                "the bundle will hold fp32 alone, as with target=none"
            )

    def _free_output(self, name: str, checkpoint_sha256: str) -> Path:
        """Where the bundle goes; looked at before the work, and again when it is written."""
        given = self._config.output
        output = Path(given) if given else BUNDLES / f"{name}-{checkpoint_sha256[:8]}"
        free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
        if not free and not self._config.overwrite:
            raise RequestError(
                f"output={output} exists already",
                field="output",
                remedy="choose another folder, or add overwrite=true",
            )
        check_free(output, overwrite=self._config.overwrite)
        return output

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

    def _export_pass(self, subject: Subject) -> ExportPass:
        settings = self._settings
        lane = Lane.torchscript if subject.max_length is not None else Lane.dynamo
        if settings.exporter is not Exporter.auto:
            lane = Lane(settings.exporter.value)
        return ExportPass(opset=settings.opset, lane=lane, max_length=subject.max_length)

    def _write_graph(self, export: ExportPass, subject: Subject, graph: Path) -> None:
        with self._progress.stage(f"export {FP32} ({export.lane}, opset {export.opset})"):
            example = example_batch(
                subject.rows, subject.preprocessor, max_length=subject.max_length
            )
            content = export.run(
                subject.restored.model,
                {name: torch.from_numpy(array) for name, array in example.items()},
                inputs=subject.inputs,
                output=subject.output,
            )
            graph.write_bytes(content)

    def _lineage(self, subject: Subject, export: ExportPass, proof: Proof) -> dict[str, Any]:
        restored, held_out = subject.restored, subject.held_out
        return {
            "checkpoint": lineage.describe_checkpoint(restored),
            "export": {"exporter": str(export.lane), "opset": export.opset},
            "target": {"requested": str(self._config.target), "actual": str(Target.none)},
            "data": {"split": held_out.split, "fingerprint": held_out.fingerprint},
            "versions": lineage.versions(),
            "created": lineage.created(),
            **proof.to_dict(),
        }

    def _registered_name(self) -> str | None:
        """None: do not register; empty: under the model's own name."""
        wanted = self._config.register
        if isinstance(wanted, str):
            return _checked_name(wanted, field="register")
        return "" if wanted else None

    def _register(self, bundle: Bundle, *, name: str, run_id: str | None) -> ModelVersion:
        registry = ModelRegistry(self._config.tracking.uri)
        try:
            with self._progress.stage(f"register {name}"):
                return registry.register(bundle.path, name=name, run_id=run_id)
        except NotFoundError:
            if run_id is None:
                raise
            self._progress.notice(
                f"the training run {run_id} is not known at {registry.uri}; registered without it"
            )
            return self._register(bundle, name=name, run_id=None)
        except RegistryError:
            self._progress.notice(f"the bundle {bundle.path} is complete, but not registered")
            raise


def _checked_name(name: str, *, field: str) -> str:
    try:
        return check_model_name(name, field=field)
    except ManifestError as error:
        raise RequestError(str(error), field=field, remedy=error.remedy) from error


def _fp32_variant(proof: Proof, file: str) -> Variant:
    return Variant(
        name=proof.variant,
        file=file,
        precision="fp32",
        certified=proof.certified,
        gate=proof.gate(),
    )
