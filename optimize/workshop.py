"""Workshop: one checkpoint's exported model, its variants and its baselines, each with its answers.

Whatever was finished before, by this export or an earlier one, comes from the cache.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from bundle.engine.openvino import openvino_missing
from bundle.errors import BundleError
from bundle.finite import all_finite
from optimize.assess import Assessor
from optimize.contestant import openvino_engine
from optimize.evaluate import Evaluation
from optimize.findings import Baseline
from optimize.forge import Forge
from optimize.machine import machine_errors
from optimize.measure import BASELINES, OPENVINO, TORCH_BF16, TORCH_FP32
from optimize.passes.base import Material
from optimize.passes.export import Lane
from optimize.proof import REFERENCE, compare_shapes, prove
from optimize.reference import LOGITS, TorchReference, narrowed
from optimize.samples import draw_samples
from optimize.schema import Exporter
from optimize.variants import FP32, Candidate, VariantMaker, make_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from optimize.assess import Assessment
    from optimize.cache import ContentCache
    from optimize.forge import Graph
    from optimize.progress import StageProgress
    from optimize.proof import Proof
    from optimize.recipe import Recipe
    from optimize.reference import Predictor
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject
    from optimize.verify import Parity

CPU = "cpu"
_BASELINE = "baseline"


class Workshop:
    """Works on one subject, for one provider, in one scratch folder."""

    def __init__(
        self,
        subject: Subject,
        settings: OptimizeConfig,
        *,
        provider: str,
        folder: Path,
        cache: ContentCache,
        progress: StageProgress,
    ) -> None:
        self._subject = subject
        self._settings = settings
        self._provider = provider
        self._cache = cache
        self._progress = progress
        self._assessor = Assessor(subject, settings, cache=cache, progress=progress)
        self._forge = Forge(subject, settings, folder=folder, cache=cache, progress=progress)
        self.maker = VariantMaker(
            subject,
            settings,
            forge=self._forge,
            assessor=self._assessor,
            reference=lambda: self._reference,
            compare=self._compare,
            provider=provider,
        )
        self._parities: dict[Lane, Parity] = {}

    @functools.cached_property
    def _reference(self) -> Assessment:
        """The checkpoint's answers: it may take minutes to ask, which a wrong opset should not."""
        subject = self._subject
        return self._assessor.assess(
            REFERENCE, self._torch_identity(FP32), lambda: subject.reference
        )

    @property
    def lane(self) -> Lane:
        """The exporter of the fp32 variant, and of all where one was asked for."""
        if self._settings.exporter is not Exporter.auto:
            return Lane(self._settings.exporter.value)
        return Lane.torchscript if self._subject.max_length is not None else Lane.dynamo

    @machine_errors(FP32)
    def exported(self) -> tuple[Candidate, Proof]:
        """The checkpoint as it is, in ONNX. Raises OptimizeError if it cannot be exported, and
        ParityError if it answers otherwise.
        """
        parity = self._compare(self.lane)
        graph, identity, load = self._on_the_cpu(self.lane)
        answers = self._assessor.assess(FP32, identity, load)
        proof = prove(self._subject, parity, self._reference, answers, variant=FP32)
        candidate = Candidate(
            name=FP32,
            precision="fp32",
            format="onnx",
            verdict=proof.verdict,
            graph=graph,
            assessment=answers,
            always_shipped=True,
        )
        return candidate, proof

    def _compare(self, lane: Lane) -> Parity:
        """What that exporter wrote, at many shapes, once. Raises as `exported` does."""
        if lane not in self._parities:
            _, identity, load = self._on_the_cpu(lane)
            with self._progress.stage(f"compare at many shapes ({lane})"):
                self._parities[lane] = compare_shapes(
                    self._subject, identity, load, settings=self._settings, cache=self._cache
                )
        return self._parities[lane]

    def _on_the_cpu(self, lane: Lane) -> tuple[Graph, dict[str, str], Callable[[], Predictor]]:
        """An export, on the CPU whatever the target: what is proved there is the graph, to 1e-4."""
        graph = self._forge.export(lane)
        load = functools.partial(self.maker.predictor, graph, provider=CPU)
        return graph, self.maker.identity(graph, provider=CPU), load

    def variants(self, recipes: Sequence[Recipe]) -> list[Candidate]:
        """One a recipe, in order; none raises, unless the machine has no room: MachineError."""
        if not recipes:
            return []
        with self._progress.variants(len(recipes)) as begin:
            return make_all(self.maker, recipes, self._material, begin=begin)

    def baselines(self) -> list[Baseline]:
        """Eager torch and, on a CPU where it is installed, OpenVINO, in fp32 and in bf16."""
        weights = sum(
            tensor.numel() for tensor in self._subject.restored.model.state_dict().values()
        )
        answering = {TORCH_FP32: self._reference, TORCH_BF16: self._bfloat16()}
        if self._provider == CPU and openvino_missing() is None:  # elsewhere it is not timed
            answering |= {name: self._openvino(name, each) for name, each in OPENVINO.items()}
        found = []
        for name, precision in {**BASELINES, **OPENVINO}.items():
            if name not in answering:
                continue
            answers = answering[name]
            scores = None if answers is None else self._evaluation(answers)
            found.append(
                Baseline(
                    name=name,
                    precision=precision,
                    bytes=weights * (4 if precision == FP32 else 2),
                    agreement=None if scores is None else scores.agreement(REFERENCE, _BASELINE),
                    accuracy=None if scores is None else scores.accuracy(_BASELINE),
                )
            )
        return found

    def _bfloat16(self) -> Assessment | None:
        """None if the model cannot run in bfloat16."""

        def load() -> Predictor:
            return TorchReference(narrowed(self._subject.restored.model, torch.bfloat16))

        try:
            found = self._assessor.assess(TORCH_BF16, self._torch_identity("bf16"), load)
        except (RuntimeError, TypeError) as error:  # torch's own, for an operator it does not have
            self._progress.notice(f"torch bf16 is left out: {str(error).splitlines()[0]}")
            return None
        return found if all_finite(found.logits) else None

    def _openvino(self, name: str, precision: str) -> Assessment | None:
        """None if it cannot run the exported model."""
        graph = self._forge.export(self.lane)
        identity = {"graph": graph.sha256, "provider": "openvino", "precision": precision}

        def load() -> Predictor:
            engine = openvino_engine(graph.path, precision, threads=self._settings.threads)
            return lambda batch: engine.predict_batch(batch)[LOGITS]

        try:
            found = self._assessor.assess(name, identity, load)
        except BundleError as error:
            self._progress.notice(f"{name} is left out: {error}")
            return None
        return found if all_finite(found.logits) else None

    def _evaluation(self, answers: Assessment) -> Evaluation:
        logits = {REFERENCE: self._reference.logits, _BASELINE: answers.logits}
        return Evaluation(labels=self._subject.held_out.labels, logits=logits)

    def _torch_identity(self, precision: str) -> dict[str, Any]:
        return {
            "checkpoint": self._subject.restored.sha256,
            "precision": precision,
        }

    def _material(self) -> Material:
        subject = self._subject
        with self._progress.stage("draw samples for calibration and tuning"):
            calibration, tuning = draw_samples(
                subject.data,
                subject.held_out,
                subject.preprocessor,
                self._settings.samples,
                batch_size=self._settings.batch_size,
            )
        return Material(
            calibration=calibration,
            tuning=tuning,
            transformer=subject.transformer,
            threads=self._settings.threads,
        )
