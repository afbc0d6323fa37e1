"""Proof: an exported model against its checkpoint, at many shapes and on the held-out samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optimize import toolchain
from optimize.errors import ParityError
from optimize.evaluate import Evaluation
from optimize.gate import certify_by_parity
from optimize.probes import probe_batches
from optimize.verify import Invariance, Parity, check_difference, check_parity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optimize.assess import Assessment
    from optimize.cache import ContentCache
    from optimize.gate import Verdict
    from optimize.reference import Predictor
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject

REFERENCE = "torch"
"""The checkpoint's name among the evaluated models."""
VERSION = 1
"""Raised when other shapes or values would be compared."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured of the exported model."""

    variant: str
    parity: Parity
    invariance: Invariance
    evaluation: Evaluation

    @property
    def verdict(self) -> Verdict:
        """A proof exists only if the logits are the checkpoint's; company must not change them."""
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


def compare_shapes(
    subject: Subject,
    identity: Mapping[str, Any],
    load: Callable[[], Predictor],
    *,
    settings: OptimizeConfig,
    cache: ContentCache,
) -> Parity:
    """Compare an exported model with the checkpoint at many shapes.

    `identity`: what the exported model is, as JSON; `load` is called if it was not compared before.
    Raises ParityError if its logits are others.
    """
    key = {
        "kind": "parity",
        "version": VERSION,
        "model": dict(identity),
        "checkpoint": subject.restored.sha256,
        "samples": subject.held_out.sha256,
        "rows": len(subject.rows),
        "tolerance": settings.tolerance,
        "threads": settings.threads,
        "packages": toolchain.packages(),
        "machine": toolchain.machine(),
        "code": toolchain.answering_code(),
    }

    def compare() -> tuple[bytes, dict[str, Any]]:
        batches = probe_batches(subject.rows, subject.preprocessor, max_length=subject.max_length)
        parity = check_parity(subject.reference, load(), batches, tolerance=settings.tolerance)
        return b"", asdict(parity)

    return Parity(**cache.get_or_make(key, compare).facts)


def prove(
    subject: Subject,
    parity: Parity,
    reference: Assessment,
    candidate: Assessment,
    *,
    variant: str,
) -> Proof:
    """Both models' answers to the held-out samples. Raises ParityError if they are others."""
    samples = subject.held_out
    evaluation = Evaluation(
        labels=samples.labels,
        logits={REFERENCE: reference.logits, variant: candidate.logits},
    )
    on_samples = check_difference(
        reference.logits,
        candidate.logits,
        tolerance=parity.tolerance,
        where=f"{samples.split} samples",
    )
    if candidate.invariance is None:
        raise ParityError(f"an output of {variant} holds NaN or infinity, alone or in a batch")
    return Proof(
        variant=variant,
        parity=replace(
            parity,
            max_abs_diff=max(parity.max_abs_diff, on_samples),
            rows=parity.rows + len(samples.labels),
        ),
        invariance=candidate.invariance,
        evaluation=evaluation,
    )
