"""The golden examples of a bundle: raw samples, their tensors, and the engine's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.golden import write_golden
from optimize.probes import example_batch

if TYPE_CHECKING:
    from bundle.engine.base import InferenceEngine
    from bundle.manifest import Golden
    from optimize.schema import GoldenConfig
    from optimize.subject import Subject


def make_golden(
    subject: Subject, engine: InferenceEngine, settings: GoldenConfig
) -> tuple[Golden, dict[str, bytes]]:
    """Three batches: the raw samples, one sample alone, and two of different lengths."""
    preprocessor = subject.preprocessor
    samples = subject.held_out.golden(settings.samples)
    batches = [
        preprocessor.collate([preprocessor(sample) for sample in samples]),
        preprocessor.collate(subject.rows[:1]),
        example_batch(subject.rows, preprocessor, max_length=subject.max_length),
    ]
    return write_golden(
        [(batch, engine.predict_batch(batch)) for batch in batches],
        samples=samples,
        atol=settings.atol,
        rtol=settings.rtol,
    )
