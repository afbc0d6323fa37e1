"""Forms: one model in torch, ONNX Runtime and TensorRT, each from host arrays to host arrays."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.gpus.subject import Subject
    from bundle.engine.base import InferenceEngine
    from optimize.reference import Predictor, Tensors

BASELINE = "torch fp32"
_WARM_UP_CALLS = 3
_BEST_BATCH = 8


@dataclass(frozen=True)
class Ready:
    """What runs here, warm, and what does not."""

    runs: dict[str, Predictor] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    """Largest of a logit from the baseline's."""
    missing: dict[str, str] = field(default_factory=dict)
    """Form → why it is not timed."""


def prepare(subject: Subject, device: str, batches: Mapping[int, Tensors]) -> Ready:
    """Every form, warmed on every batch. Raises what the baseline raises."""
    ready = Ready()
    expected = None
    for name, load in _loaders(subject, device, sizes=sorted(batches)).items():
        try:
            run = load()
            answers = [_warm(run, batch) for batch in batches.values()]
        except Exception as error:  # compilers and runtimes raise anything
            if expected is None:
                raise
            ready.missing[name] = first_line(error)
            continue
        expected = expected or answers
        ready.runs[name] = run
        ready.differences[name] = max(
            float(np.abs(one - other).max()) for one, other in zip(answers, expected, strict=True)
        )
    return ready


def _loaders(
    subject: Subject, device: str, *, sizes: Sequence[int]
) -> dict[str, Callable[[], Predictor]]:
    """By form, the baseline first."""
    found: dict[str, Callable[[], Predictor]] = {}
    for precision in PRECISIONS:
        found |= {
            f"torch {precision}": partial(_torch, subject, device, precision),
            f"torch.compile {precision}": partial(_compiled, subject, device, precision),
            f"onnxruntime {precision}": partial(_onnx, subject, device, precision),
            f"tensorrt {precision}": partial(_plan, subject, device, precision, sizes=sizes),
        }
    return found


def _torch(subject: Subject, device: str, precision: str) -> Predictor:
    return TorchReference(_in_torch(subject, precision), device=device)


def _compiled(subject: Subject, device: str, precision: str) -> Predictor:
    """Compiled for each batch size by itself, which is what it is fastest with."""
    model: Any = torch.compile(_in_torch(subject, precision), dynamic=False)
    return TorchReference(model, device=device)


def _in_torch(subject: Subject, precision: str) -> torch.nn.Module:
    """A copy: the form takes it to its device, and the exporters need the original on the host."""
    if precision == "fp32":
        return copy.deepcopy(subject.model)
    return narrowed(subject.model, torch.float16)


def _onnx(subject: Subject, device: str, precision: str) -> Predictor:
    engine = OnnxEngine(subject.narrow(subject.fused, precision), provider=device, threads=THREADS)
    if device == "cuda" and not engine.metadata()["io_binding"]:
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
    plan = TensorRTPass(key=key, profile=profile).run(subject.narrow(subject.plain, precision))
    return _predictor(TensorRTEngine(plan, max_batch_size=sizes[-1]))


def _predictor(engine: InferenceEngine) -> Predictor:
    return lambda batch: engine.predict_batch(dict(batch))[LOGITS]


def _warm(run: Predictor, batch: Tensors) -> Any:
    """Its answers. Raises EngineError for such as are no numbers."""
    for _ in range(_WARM_UP_CALLS):
        answers = run(batch)
    if not np.isfinite(answers).all():
        raise EngineError("its answers are not finite")
    return answers
