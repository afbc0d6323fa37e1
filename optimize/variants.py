"""Variants: every recipe's graph, made, assessed and judged; what fails is kept with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine.onnx import OnnxEngine
from bundle.engine.select import tensorrt_options
from bundle.engine.tensorrt import TensorRTEngine
from bundle.errors import TrainyardError
from bundle.manifest import GateResult, Variant
from optimize.errors import MachineError, OptimizeError
from optimize.evaluate import Evaluation
from optimize.gate import Verdict, judge
from optimize.machine import machine_errors, reason_of
from optimize.proof import REFERENCE
from optimize.reference import LOGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bundle.engine.base import InferenceEngine
    from bundle.engine.profile import ShapeProfile
    from optimize.assess import Assessment, Assessor
    from optimize.forge import Forge, Graph
    from optimize.passes.base import Material
    from optimize.passes.export import Lane
    from optimize.recipe import Recipe
    from optimize.reference import Predictor
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject
    from optimize.verify import Parity

FP32 = "fp32"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form of the model and what the gate says of it."""

    name: str
    precision: str
    format: str
    verdict: Verdict
    graph: Graph | None
    """None if it could not be made."""
    assessment: Assessment | None
    """None if it could not be run."""
    deviation: float = 0.0
    """Largest difference of a logit from the original's, over the samples."""
    always_shipped: bool = False
    """Also where it is not certified: fp32, which is proved by parity."""

    @property
    def certified(self) -> bool:
        return self.verdict.certified

    @property
    def file(self) -> str | None:
        """Its name in the bundle; what is not certified is not shipped."""
        if self.graph is None or not (self.certified or self.always_shipped):
            return None
        return f"{self.name}{self.graph.ending}"

    def to_variant(self) -> Variant:
        """As the manifest has it."""
        return Variant(
            name=self.name,
            file=self.file,
            format=self.format,
            precision=self.precision,
            certified=self.certified,
            gate=self.verdict.result,
        )


class VariantMaker:
    """Makes candidates for one subject on one provider."""

    def __init__(
        self,
        subject: Subject,
        settings: OptimizeConfig,
        *,
        forge: Forge,
        assessor: Assessor,
        reference: Callable[[], Assessment],
        compare: Callable[[Lane], Parity],
        provider: str,
    ) -> None:
        """`compare`: raises ParityError where what that exporter wrote is not the checkpoint."""
        self._subject = subject
        self._settings = settings
        self._forge = forge
        self._assessor = assessor
        self._reference = reference
        self._compare = compare
        self._provider = provider

    def make(self, recipe: Recipe, material: Material) -> Candidate:
        """A candidate that fails says why. Raises MachineError alone: what the machine has no room
        for is no worse for it.
        """
        graph: Graph | None = None
        try:
            with machine_errors(recipe.name):
                self._compare(recipe.lane)
                graph = self._forge.make(recipe, material)
                assessment = self._assess(recipe.name, graph)
        except MachineError:
            raise
        except TrainyardError as error:
            return _failed(recipe, error, graph=graph)
        return Candidate(
            name=recipe.name,
            precision=recipe.precision,
            format=recipe.format,
            verdict=self._judge(recipe.name, graph, assessment),
            graph=graph,
            assessment=assessment,
            deviation=self._deviation(assessment),
        )

    def _assess(self, name: str, graph: Graph) -> Assessment:
        """Raises OptimizeError for answers of another shape, and what running the graph raises."""
        assessment = self._assessor.assess(
            name, self.identity(graph), lambda: self.predictor(graph)
        )
        found, wanted = assessment.logits.shape, self._reference().logits.shape
        if found != wanted:
            raise OptimizeError(
                f"its answers have shape {list(found)}, the original's {list(wanted)}"
            )
        return assessment

    def identity(self, graph: Graph, *, provider: str | None = None) -> dict[str, Any]:
        """What an assessment of the graph is of. `provider`: None takes the maker's."""
        if graph.plan is not None:
            return {"graph": graph.sha256, "provider": "tensorrt"}
        runs = provider or self._provider
        found: dict[str, Any] = {"graph": graph.sha256, "provider": runs}
        if runs == "tensorrt":  # which builds an engine of its own
            found["profile"] = self._profile().to_dict()
        return found

    def engine(self, graph: Graph, *, provider: str | None = None) -> InferenceEngine:
        """Of a plan TensorRT's own, whatever the provider. Raises EngineError."""
        if graph.plan is not None:
            return TensorRTEngine(graph.path)
        runs = provider or self._provider
        return OnnxEngine(
            graph.path,
            provider=runs,
            threads=self._settings.threads,
            **self._for_tensorrt(graph) if runs == "tensorrt" else {},
        )

    def _for_tensorrt(self, graph: Graph) -> dict[str, Any]:
        """As a server that runs batches of up to so many has it, and the plan of that graph."""
        most = self._settings.tensorrt.max_batch_size
        return {"max_batch_size": most, **tensorrt_options(graph.sha256, self._profile())}

    def _profile(self) -> ShapeProfile:
        return self._subject.profile(max_batch_size=self._settings.tensorrt.max_batch_size)

    def predictor(self, graph: Graph, *, provider: str | None = None) -> Predictor:
        """Raises EngineError, also when it is called."""
        engine = self.engine(graph, provider=provider)
        return lambda batch: engine.predict_batch(batch)[LOGITS]

    def _judge(self, name: str, graph: Graph, assessment: Assessment) -> Verdict:
        held_out = self._subject.held_out
        return judge(
            Evaluation(
                labels=held_out.labels,
                logits={REFERENCE: self._reference().logits, name: assessment.logits},
            ),
            reference=REFERENCE,
            candidate=name,
            split=held_out.split,
            data_changed=self._subject.data_changed,
            sources=graph.sources,
            invariance=assessment.invariance,
            settings=self._settings.gate,
        )

    def _deviation(self, assessment: Assessment) -> float:
        difference = np.abs(assessment.logits - self._reference().logits)
        return float(np.nan_to_num(difference).max(initial=0.0))


def _failed(recipe: Recipe, error: TrainyardError, *, graph: Graph | None = None) -> Candidate:
    """What could not be made or run."""
    reason = f"failed: {reason_of(error)}"
    return Candidate(
        name=recipe.name,
        precision=recipe.precision,
        format=recipe.format,
        verdict=Verdict(certified=False, result=GateResult(reason=reason), checks=()),
        graph=graph,
        assessment=None,
    )


def make_all(
    maker: VariantMaker,
    recipes: Sequence[Recipe],
    draw: Callable[[], Material],
    *,
    begin: Callable[[str], None],
) -> list[Candidate]:
    """One candidate a recipe; `begin` hears of its name before its turn. Without material, which
    `draw` raises an OptimizeError for, all fail. Raises MachineError.
    """
    if not recipes:
        return []
    try:
        with machine_errors("drawing samples"):
            material = draw()
    except MachineError:
        raise
    except OptimizeError as error:
        return [_failed(recipe, error) for recipe in recipes]
    made: list[Candidate] = []
    for recipe in recipes:
        begin(recipe.name)
        made.append(maker.make(recipe, material))
    return made


def shipped(candidates: Sequence[Candidate]) -> Mapping[str, Path]:
    """The files of those that are certified, by their name in the bundle."""
    return {
        candidate.file: candidate.graph.path
        for candidate in candidates
        if candidate.file is not None and candidate.graph is not None
    }
