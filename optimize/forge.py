"""Forge: graphs as files, exported from the checkpoint and led through passes, each made once.

A graph may end as a TensorRT plan, for the GPU that is here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from bundle.engine.plan import PlanKey
from bundle.variant import PLAN_FORMAT
from optimize import toolchain
from optimize.errors import MachineError, OptimizeError
from optimize.gate import Source
from optimize.passes.export import ExportPass, Lane
from optimize.passes.tensorrt import TensorRTPass
from optimize.probes import example_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from optimize.cache import ContentCache
    from optimize.passes.base import GraphPass, Material
    from optimize.progress import StageProgress
    from optimize.recipe import Recipe
    from optimize.reference import Tensors
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject

EXPORT_VERSION = 1
"""Raised when the same model would be exported otherwise."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was done on the way to a graph."""

    name: str
    version: int
    parameters: Mapping[str, Any]
    """As JSON: with the name and the version all that it depended on, besides what it read."""
    found: bool
    """Whether the cache had it."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What it has chosen, as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """As the lineage records it, which does not depend on what was in the cache."""
        return {
            "name": self.name,
            "version": self.version,
            "parameters": dict(self.parameters),
            **({"notes": dict(self.notes)} if self.notes else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A form of the model, as a file."""

    path: Path
    sha256: str
    bytes: int
    steps: tuple[Step, ...]
    sources: tuple[Source, ...] = ()
    """The samples that its passes have read."""
    plan: PlanKey | None = None
    """What can run it, where it became a plan."""

    @property
    def ending(self) -> str:
        """How the names of such files end."""
        return _ending(self.plan)


class Forge:
    """Writes its graphs into a folder; none of them is looked at for what it is worth."""

    def __init__(
        self,
        subject: Subject,
        settings: OptimizeConfig,
        *,
        folder: Path,
        cache: ContentCache,
        progress: StageProgress,
    ) -> None:
        self._subject = subject
        self._settings = settings
        self._folder = folder
        self._cache = cache
        self._progress = progress
        self._exported: dict[Lane, Graph] = {}

    def export(self, lane: Lane) -> Graph:
        """The checkpoint as ONNX, by one of PyTorch's exporters. Raises OptimizeError."""
        if lane not in self._exported:
            self._exported[lane] = self._export(lane)
        return self._exported[lane]

    def make(self, recipe: Recipe, material: Material) -> Graph:
        """Raises OptimizeError with the reason if a pass cannot be applied, and EngineError for a
        plan where TensorRT cannot be used.
        """
        graph = self.export(recipe.lane)
        for each in recipe.passes:
            graph = self._apply(each, graph, material, variant=recipe.name)
        if recipe.format == PLAN_FORMAT:
            build = self._plan_builder()
            graph = self._apply(build, graph, material, variant=recipe.name, plan=build.key)
        return graph

    def _plan_builder(self) -> TensorRTPass:
        settings, key = self._settings.tensorrt, PlanKey.here()
        return TensorRTPass(
            key=key,
            profile=self._subject.profile(max_batch_size=settings.max_batch_size),
            workspace_mb=settings.workspace_mb,
            timing_cache=self._cache.beside(f"tensorrt/{key.slug}.timings"),
        )

    def _export(self, lane: Lane) -> Graph:
        subject, opset = self._subject, self._settings.opset
        write = ExportPass(opset=opset, lane=lane, max_length=subject.max_length)
        example = example_batch(subject.rows, subject.preprocessor, max_length=subject.max_length)
        parameters = {**asdict(write), "lane": str(lane)}
        key = {
            "kind": "export",
            "version": EXPORT_VERSION,
            "checkpoint": subject.restored.sha256,
            "parameters": parameters,
            "example": {name: list(array.shape) for name, array in example.items()},
            "packages": toolchain.packages(),
            "code": toolchain.writing_code(),
        }

        def run() -> tuple[bytes, dict[str, Any]]:
            with self._progress.stage(f"export ({lane}, opset {opset})"):
                content = write.run(
                    subject.restored.model,
                    {name: torch.from_numpy(array) for name, array in example.items()},
                    inputs=subject.inputs,
                    output=subject.output,
                )
            return content, {}

        entry = self._cache.get_or_make(key, run)
        step = Step(
            name=f"export:{lane}",
            version=EXPORT_VERSION,
            parameters=parameters,
            found=entry.found,
        )
        return self._store(entry.content, (step,))

    def _apply(
        self,
        each: GraphPass,
        graph: Graph,
        material: Material,
        *,
        variant: str,
        plan: PlanKey | None = None,
    ) -> Graph:
        parameters = json.loads(json.dumps(each.parameters()))
        key = {
            "kind": "pass",
            "input": graph.sha256,
            "name": each.name,
            "version": each.version,
            "parameters": parameters,
            # To learn ranges and to choose, a pass reads samples and runs the graph on them.
            "material": describe_material(material) if each.learns else None,
            "machine": toolchain.machine() if each.learns else None,
            "packages": toolchain.packages(),
            "code": toolchain.writing_code(),
        }

        def run() -> tuple[bytes, dict[str, Any]]:
            watched, sources = watch(material)
            notes: dict[str, Any] = {}
            watched = replace(watched, note=notes.__setitem__)
            with self._progress.stage(f"{variant}: {each.name}"):
                content = each.run(graph.path.read_bytes(), watched)
            return content, {"sources": [asdict(source) for source in sources], "notes": notes}

        try:
            entry = self._cache.get_or_make(key, run)
        except MachineError:
            raise
        except OptimizeError as error:
            raise type(error)(
                f"{each.name}: {error}", field=error.field, remedy=error.remedy
            ) from error
        except Exception as error:  # the libraries behind passes raise errors of every kind
            text = str(error).strip().splitlines()
            reason = text[0] if text else "no reason was given"
            raise OptimizeError(f"{each.name}: {type(error).__name__}: {reason}") from error
        sources = (*graph.sources, *(Source(**facts) for facts in entry.facts["sources"]))
        step = Step(
            name=each.name,
            version=each.version,
            parameters=parameters,
            found=entry.found,
            notes=entry.facts["notes"],
        )
        made = self._store(entry.content, (*graph.steps, step), plan=plan)
        return replace(made, sources=tuple(dict.fromkeys(sources)))

    def _store(
        self, content: bytes, steps: tuple[Step, ...], *, plan: PlanKey | None = None
    ) -> Graph:
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{digest}{_ending(plan)}"
        path.write_bytes(content)
        return Graph(path=path, sha256=digest, bytes=len(content), steps=steps, plan=plan)


def _ending(plan: PlanKey | None) -> str:
    return ".onnx" if plan is None else plan.ending


def describe_material(material: Material) -> dict[str, Any]:
    """What a pass may look at, as JSON, without the samples themselves."""
    transformer = material.transformer
    return {
        "calibration": _describe(material.calibration),
        "tuning": _describe(material.tuning),
        "transformer": None if transformer is None else asdict(transformer),
        "threads": material.threads,
    }


def watch(material: Material) -> tuple[Material, list[Source]]:
    """The same material, and a list that receives what of it is read."""
    read: list[Source] = []

    def noting(
        source: Source, batches: Callable[[], Iterator[Tensors]]
    ) -> Callable[[], Iterator[Tensors]]:
        def noted() -> Iterator[Tensors]:
            if source not in read:
                read.append(source)
            return batches()

        return noted

    replaced: dict[str, Any] = {}
    for use in ("calibration", "tuning"):
        samples = getattr(material, use)
        source = Source(
            use=use,
            split=samples.split,
            fingerprint=samples.fingerprint,
            samples=samples.samples,
        )
        replaced[use] = replace(samples, batches=noting(source, samples.batches))
    return replace(material, **replaced), read


def _describe(samples: Any) -> dict[str, Any]:
    return {
        "split": samples.split,
        "fingerprint": samples.fingerprint,
        "samples": samples.samples,
        "form": dict(samples.form),
    }
