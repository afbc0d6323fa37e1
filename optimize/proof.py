"""Proof: an exported model against its checkpoint, at many shapes and on the held-out samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optimize.evaluate import Evaluation, evaluate
from optimize.gate import certify_by_parity
from optimize.probes import probe_batches
from optimize.verify import Invariance, Parity, check_difference, check_parity, measure_invariance

if TYPE_CHECKING:
    from bundle.manifest import GateResult
    from optimize.progress import StageProgress
    from optimize.reference import Predictor
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject

REFERENCE = "torch"
"""The checkpoint's name among the evaluated models."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured of one variant."""

    variant: str
    parity: Parity
    invariance: Invariance
    evaluation: Evaluation

    @property
    def certified(self) -> bool:
        """A proof exists only if the logits are the checkpoint's; company must not change them."""
        return self.invariance.max_abs_diff <= self.parity.tolerance

    def gate(self) -> GateResult:
        return certify_by_parity(
            self.evaluation,
            reference=REFERENCE,
            candidate=self.variant,
            parity=self.parity,
            invariance=self.invariance,
        )

    def to_dict(self) -> dict[str, Any]:
        """As the lineage records it."""
        models = (REFERENCE, self.variant)
        return {
            "parity": asdict(self.parity),
            "batch_invariance": asdict(self.invariance),
            "evaluation": {
                "samples": len(self.evaluation.labels),
                "accuracy": {name: self.evaluation.accuracy(name) for name in models},
                "agreement": self.evaluation.agreement(*models),
            },
        }


def prove(
    subject: Subject,
    candidate: Predictor,
    *,
    variant: str,
    settings: OptimizeConfig,
    progress: StageProgress,
) -> Proof:
    """Compare `candidate` with the checkpoint. Raises ParityError if its logits are others."""
    samples = subject.held_out
    with progress.stage("compare at many shapes"):
        probed = check_parity(
            subject.reference,
            candidate,
            probe_batches(subject.rows, subject.preprocessor, max_length=subject.max_length),
            tolerance=settings.tolerance,
        )
    total = len(samples.labels)
    with progress.stage(f"evaluate {total} {samples.split} samples", total=total) as advance:
        evaluation = evaluate(
            {REFERENCE: subject.reference, variant: candidate},
            samples.raw,
            samples.labels,
            subject.preprocessor,
            batch_size=settings.batch_size,
            advance=advance,
        )
    on_samples = check_difference(
        evaluation.logits[REFERENCE],
        evaluation.logits[variant],
        tolerance=settings.tolerance,
        where=f"{samples.split} samples",
    )
    parity = replace(
        probed,
        max_abs_diff=max(probed.max_abs_diff, on_samples),
        rows=probed.rows + total,
    )
    with progress.stage("answer alone and in a batch"):
        invariance = measure_invariance(
            candidate, subject.rows, subject.preprocessor, batch_size=settings.batch_size
        )
    return Proof(variant=variant, parity=parity, invariance=invariance, evaluation=evaluation)
