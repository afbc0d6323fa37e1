"""Assessor: what a model answers to the held-out samples, alone and in company; each asked once."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.finite import all_finite
from optimize import toolchain
from optimize.errors import ParityError
from optimize.evaluate import evaluate
from optimize.verify import Invariance, measure_invariance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optimize.cache import ContentCache
    from optimize.progress import StageProgress
    from optimize.reference import Array, Predictor
    from optimize.schema import OptimizeConfig
    from optimize.subject import Subject

VERSION = 2
"""Raised when the same models would be assessed otherwise."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One model's answers."""

    logits: Array
    """float32 (samples, classes)"""
    invariance: Invariance | None
    """None if an answer is not finite."""
    found: bool
    """Whether it comes from the cache."""


class Assessor:
    """Assesses every model on the same samples in the same way."""

    def __init__(
        self,
        subject: Subject,
        settings: OptimizeConfig,
        *,
        cache: ContentCache,
        progress: StageProgress,
    ) -> None:
        self._subject = subject
        self._settings = settings
        self._cache = cache
        self._progress = progress

    def assess(
        self, name: str, identity: Mapping[str, Any], load: Callable[[], Predictor]
    ) -> Assessment:
        """`identity`: what the model is and where it runs, as JSON; `load` is called if it was not
        assessed before. Raises what loading and answering raise.
        """
        settings, held_out = self._settings, self._subject.held_out
        key = {
            "kind": "assessment",
            "version": VERSION,
            "model": dict(identity),
            "samples": held_out.sha256,
            "preprocessing": self._subject.preprocessor.config.sha256,
            "batch_size": settings.batch_size,
            "invariance_samples": settings.invariance_samples,
            "threads": settings.threads,
            "packages": toolchain.packages(),
            "machine": toolchain.machine(),
            "code": toolchain.answering_code(),
        }
        entry = self._cache.get_or_make(key, lambda: self._measure(name, load()))
        company = entry.facts["invariance"]
        return Assessment(
            logits=np.load(io.BytesIO(entry.content), allow_pickle=False),
            invariance=None if company is None else Invariance(**company),
            found=entry.found,
        )

    def _measure(self, name: str, predict: Predictor) -> tuple[bytes, dict[str, Any]]:
        settings, subject = self._settings, self._subject
        held_out = subject.held_out
        total = len(held_out.labels)
        with self._progress.stage(
            f"evaluate {name} on {total} {held_out.split} samples", total=total
        ) as advance:
            evaluation = evaluate(
                {name: predict},
                held_out.raw,
                held_out.labels,
                subject.preprocessor,
                batch_size=settings.batch_size,
                advance=advance,
            )
        logits = evaluation.logits[name].astype(np.float32)
        stream = io.BytesIO()
        np.save(stream, logits, allow_pickle=False)
        return stream.getvalue(), {"invariance": self._invariance(name, predict, logits)}

    def _invariance(self, name: str, predict: Predictor, logits: Array) -> dict[str, Any] | None:
        if not all_finite(logits):
            return None
        with self._progress.stage(f"ask {name} alone and in a batch"):
            try:
                found = measure_invariance(predict, self._subject.rows, self._subject.preprocessor)
            except ParityError:  # not finite in other company
                return None
        return asdict(found)
