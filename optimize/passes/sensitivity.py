"""How much each layer alone, once quantized, moves the model's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bundle.engine.onnx import OnnxEngine
from optimize.errors import OptimizeError
from optimize.reference import LOGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from optimize.reference import Array, Tensors


def distortions(
    graph: bytes,
    quantize: Callable[[Collection[str]], bytes],
    *,
    candidates: Sequence[str],
    batches: Sequence[Tensors],
    threads: int | None,
) -> dict[str, float]:
    """Candidate → mean squared change of a logit where it is the only node that is quantized.

    `quantize` is given the nodes that stay as they are. Raises OptimizeError if a change is not
    finite.
    """
    expected = _answers(graph, batches, threads)
    found: dict[str, float] = {}
    for name in candidates:
        others = [other for other in candidates if other != name]
        answers = _answers(quantize(others), batches, threads)
        found[name] = float(np.square(answers.astype(np.float64) - expected).mean())
        if not np.isfinite(found[name]):
            raise OptimizeError(f"the answers are not finite once {name} is quantized")
    return found


def most_sensitive(distortion: dict[str, float], *, share: float, limit: float) -> tuple[str, ...]:
    """The fewest nodes that make `share` of all distortion, but no more than `limit` of them all.

    The errors of different layers are nearly independent, so that their squares add up.
    """
    order = {name: position for position, name in enumerate(distortion)}
    worst = sorted(distortion, key=lambda name: (-distortion[name], order[name]))
    wanted = share * sum(distortion.values())
    kept: list[str] = []
    while len(kept) < int(limit * len(worst)) and sum(distortion[name] for name in kept) < wanted:
        kept.append(worst[len(kept)])
    return tuple(sorted(kept, key=order.__getitem__))


def _answers(graph: bytes, batches: Sequence[Tensors], threads: int | None) -> Array:
    """Logits of every sample: float32 (samples, classes)."""
    engine = OnnxEngine(graph, provider="cpu", threads=threads)
    return np.concatenate([engine.predict_batch(dict(batch))[LOGITS] for batch in batches])
