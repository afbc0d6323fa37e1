"""The golden examples of a bundle: raw samples, their tensors, and each variant's answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bundle.golden import write_answers, write_golden
from optimize.probes import example_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bundle.engine.base import InferenceEngine
    from bundle.manifest import Golden, GoldenAnswers
    from optimize.schema import GoldenConfig
    from optimize.subject import Subject

OWN_ERROR = 0.25
"""Share of a variant's own deviation from the original by which another machine's kernels may move
its logits: more, and what was certified here is not what runs there."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A shipped variant."""

    load: Callable[[], InferenceEngine]
    deviation: float
    """Largest difference of its logits from the original's; 0: it is the original's equal."""


def make_golden(
    subject: Subject,
    variants: Mapping[str, Answering],
    *,
    default: str,
    settings: GoldenConfig,
) -> tuple[Golden, dict[str, bytes]]:
    """Three batches: the raw samples, one sample alone, and two of different lengths.

    A quantized variant rounds at edges that another processor's arithmetic may cross, so it is
    held to a share of its own deviation where that is more than `settings.atol`.
    """
    preprocessor = subject.preprocessor
    samples = subject.held_out.golden(settings.samples)
    batches = [
        preprocessor.collate([preprocessor(sample) for sample in samples]),
        preprocessor.collate(subject.rows[:1]),
        example_batch(subject.rows, preprocessor, max_length=subject.max_length),
    ]
    answers: dict[str, GoldenAnswers] = {}
    files: dict[str, bytes] = {}
    for name, variant in variants.items():
        engine = variant.load()
        outputs = [engine.predict_batch(batch) for batch in batches]
        atol = max(settings.atol, OWN_ERROR * variant.deviation)
        if name == default:
            golden, content = write_golden(
                list(zip(batches, outputs, strict=True)),
                samples=samples,
                atol=atol,
                rtol=settings.rtol,
            )
        else:
            answers[name], content = write_answers(name, outputs, atol=atol, rtol=settings.rtol)
        files |= content
    return replace(golden, answers=answers), files
