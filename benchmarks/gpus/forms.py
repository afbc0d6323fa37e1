"""Forms: one model in torch, ONNX Runtime and TensorRT, each from host arrays to host arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.gpus.subject import PRECISIONS, THREADS
from bundle.engine.onnx import OnnxEngine
from bundle.engine.plan import PlanKey
from bundle.engine.profile import ShapeProfile, Span
from bundle.engine.tensorrt import TensorRTEngine
from bundle.errors import EngineError, first_line
from optimize.passes.tensorrt import TensorRTPass
from optimize.reference import LOGITS, TorchReference, narrowed
from optimize.schema import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.gpus.subject import Subject
    from bundle.engine.base import InferenceEngine
    from optimize.reference import Array, Predictor, Tensors

BASELINE = "torch fp32"
LIMITS = {"fp32": 0.02, "fp16": 0.05}
"""Furthest that a form's logits may lie from the baseline's, as a share of its largest one: all
multiply with about ten bits, in TF32 or float16, and what computes something else lies far beyond.
"""
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_WARM_UP_CALLS = 3
_BEST_BATCH = 8
_RECOMPILE_LIMIT = 8
"""Torch's own."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What runs here, warm, and what does not."""

    runs: Mapping[str, Predictor]
    differences: Mapping[str, float]
    """Largest of a logit from the baseline's, as a share of its largest one."""
    missing: Mapping[str, str]
    """Form → why it is not timed."""


def prepare(subject: Subject, device: str, batches: Mapping[int, Tensors]) -> Ready:
    """Every form, warmed on every batch. Raises what the baseline raises."""
    runs: dict[str, Predictor] = {}
    differences: dict[str, float] = {}
    missing: dict[str, str] = {}
    expected: list[Array] = []
    for name, load in _loaders(subject, device, sizes=sorted(batches)).items():
        try:
            run = load()
            answers = [_warm(run, batch) for batch in batches.values()]
            expected = expected or answers
            differences[name] = _difference(answers, expected, limit=LIMITS[name.split()[-1]])
        except Exception as error:  # compilers and runtimes raise anything
            if not expected:
                raise
            missing[name] = first_line(error)
            continue
        runs[name] = run
    return Ready(runs=runs, differences=differences, missing=missing)


def _loaders(
    subject: Subject, device: str, *, sizes: Sequence[int]
) -> dict[str, Callable[[], Predictor]]:
    """By form, the baseline first."""
    found: dict[str, Callable[[], Predictor]] = {}
    for precision in PRECISIONS:
        found |= {
            f"torch {precision}": partial(_torch, subject, device, precision),
            f"torch.compile {precision}": partial(
                _compiled, subject, device, precision, sizes=sizes
            ),
            f"onnxruntime {precision}": partial(_onnx, subject, device, precision, sizes=sizes),
            f"tensorrt {precision}": partial(_plan, subject, device, precision, sizes=sizes),
        }
    return found


def _torch(subject: Subject, device: str, precision: str) -> Predictor:
    return TorchReference(_in_torch(subject, precision), device=device)


def _compiled(subject: Subject, device: str, precision: str, *, sizes: Sequence[int]) -> Predictor:
    """Compiled for each batch size by itself; raises where torch would go on uncompiled."""
    config: Any = torch.compiler.config
    config.fail_on_recompile_limit_hit = True
    config.recompile_limit = max(_RECOMPILE_LIMIT, len(PRECISIONS) * len(sizes))
    model: Any = torch.compile(_in_torch(subject, precision), dynamic=False)
    return TorchReference(model, device=device)


def _in_torch(subject: Subject, precision: str) -> torch.nn.Module:
    """A copy, convolutions channels-last in either precision: the form takes it to its device, and
    the exporters need the original on the host.
    """
    return narrowed(subject.model, _DTYPES[precision])


def _onnx(subject: Subject, device: str, precision: str, *, sizes: Sequence[int]) -> Predictor:
    graph = subject.graph(Target.cuda, precision)
    engine = OnnxEngine(graph, provider=device, threads=THREADS, max_batch_size=sizes[-1])
    found = engine.metadata()
    if found["threads"] != THREADS:
        raise EngineError(f"ONNX Runtime has {found['threads']} threads instead of {THREADS}")
    if device == "cuda" and not found["io_binding"]:
        raise EngineError("ONNX Runtime has no I/O binding here: install trainyard[gpu]")
    return _predictor(engine)


def _plan(subject: Subject, device: str, precision: str, *, sizes: Sequence[int]) -> Predictor:
    key = PlanKey.here()
    if device != "cuda":
        raise EngineError("TensorRT runs on no other device than cuda")
    length = Span(least=subject.length or 1, best=subject.length or 1, most=subject.length or 1)
    profile = ShapeProfile.of(
        subject.inputs, batch=Span.up_to(sizes[-1], best=_BEST_BATCH), length=length
    )
    plan = TensorRTPass(key=key, profile=profile).run(subject.graph(Target.tensorrt, precision))
    return _predictor(TensorRTEngine(plan, max_batch_size=sizes[-1]))


def _predictor(engine: InferenceEngine) -> Predictor:
    return lambda batch: engine.predict_batch(dict(batch))[LOGITS]


def _warm(run: Predictor, batch: Tensors) -> Array:
    """Its answers. Raises EngineError where they are no numbers, and for other threads of torch."""
    for _ in range(_WARM_UP_CALLS):
        answers = run(batch)
    if torch.get_num_threads() != THREADS:  # any import may have set it
        raise EngineError(f"torch has {torch.get_num_threads()} threads instead of {THREADS}")
    if not np.isfinite(answers).all():
        raise EngineError("its answers are not finite")
    return answers


def _difference(answers: Sequence[Array], expected: Sequence[Array], *, limit: float) -> float:
    """Raises EngineError where it is larger than `limit`."""
    found = max(
        float(np.abs(one - other).max() / np.abs(other).max())
        for one, other in zip(answers, expected, strict=True)
    )
    if found > limit:
        raise EngineError(
            f"its answers are others: they differ by {found:.2g} of the largest logit, and "
            f"{limit} may be"
        )
    return found
