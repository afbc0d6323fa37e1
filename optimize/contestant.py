"""Contestant: a form of the model that is timed, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bundle.engine.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.engine.base import InferenceEngine
    from optimize.reference import Array, Tensors

Run = Callable[["Tensors"], Any]
_WHOLE = 1 << 16
"""Samples a batch that no batch has: none is cut."""


class Kind(StrEnum):
    """What runs it."""

    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"
    plan = "plan"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """`path` is a checkpoint, a plan or a graph, as the kind needs; `sha256` is of its content."""

    name: str
    kind: Kind
    path: Path
    sha256: str
    precision: str = "fp32"
    provider: str = "cpu"
    """Where it runs: cpu, cuda, tensorrt or openvino."""
    profile: ShapeProfile | None = None
    """The sizes that ONNX Runtime's TensorRT prepares for; larger batches are run in pieces."""

    @property
    def device(self) -> str:
        """What computes: cpu or gpu."""
        return "gpu" if self.provider in ("cuda", "tensorrt") else "cpu"

    def identity(self) -> dict[str, Any]:
        """All but where the file lies, as JSON."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "sha256": self.sha256,
            "precision": self.precision,
            "provider": self.provider,
            "profile": None if self.profile is None else self.profile.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for `from_dict` in another process."""
        return {**self.identity(), "path": str(self.path.resolve())}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        shapes = value["profile"]
        profile = None if shapes is None else ShapeProfile(shapes=shapes)
        fields = {"path": Path(value["path"]), "kind": Kind(value["kind"]), "profile": profile}
        return cls(**{**value, **fields})


def load(contestant: Contestant, *, threads: int) -> Run:
    """What answers one batch, once its threads are known to be as many as asked for.

    Raises whatever its runtime raises, and RuntimeError where it takes other threads.
    """
    loaders = {
        Kind.torch: _load_torch,
        Kind.onnx: _load_onnx,
        Kind.openvino: _load_openvino,
        Kind.plan: _load_plan,
    }
    return loaders[contestant.kind](contestant, threads)


def _load_torch(contestant: Contestant, threads: int) -> Run:
    import torch

    from optimize.reference import TorchReference, narrowed
    from trainer.restore import restore

    model = restore(contestant.path).model
    # After the imports, of which any may have set it.
    torch.set_num_threads(threads)
    device = "cpu" if contestant.provider == "cpu" else "cuda"
    if contestant.precision == "bf16":
        model = narrowed(model, torch.bfloat16)
    reference = TorchReference(model, device=device)

    def run(batch: Tensors) -> Array:
        answer = reference(batch)
        if torch.get_num_threads() != threads:
            raise RuntimeError(f"torch has {torch.get_num_threads()} threads instead of {threads}")
        return answer

    return run


def _load_onnx(contestant: Contestant, threads: int) -> Run:
    from bundle.engine.onnx import OnnxEngine
    from bundle.engine.select import tensorrt_options

    profile = contestant.profile
    engine = OnnxEngine(
        contestant.path,
        provider=contestant.provider,
        threads=threads,
        max_batch_size=_WHOLE if profile is None else profile.largest_batch or _WHOLE,
        **{} if profile is None else tensorrt_options(contestant.sha256, profile),
    )
    return _with_threads(engine, threads, runtime="ONNX Runtime")


def _load_openvino(contestant: Contestant, threads: int) -> Run:
    engine = openvino_engine(contestant.path, contestant.precision, threads=threads)
    return _with_threads(engine, threads, runtime="OpenVINO")


def _with_threads(engine: InferenceEngine, threads: int, *, runtime: str) -> Run:
    """Raises RuntimeError where the runtime says that it has other threads."""
    found = engine.metadata()["threads"]
    if found != threads:
        raise RuntimeError(f"{runtime} has {found} threads instead of {threads}")
    return engine.predict_batch


def openvino_engine(path: Path, precision: str, *, threads: int | None) -> InferenceEngine:
    """OpenVINO on a graph, in a precision as the manifest calls it. Raises EngineError."""
    from bundle.engine.openvino import OpenVinoEngine

    name = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
    return OpenVinoEngine(path, threads=threads, precision=name, max_batch_size=_WHOLE)


def _load_plan(contestant: Contestant, threads: int) -> Run:  # noqa: ARG001 # all on the GPU
    from bundle.engine.tensorrt import TensorRTEngine

    return TensorRTEngine(contestant.path, max_batch_size=_WHOLE).predict_batch


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one contestant did with its time."""

    nanoseconds: list[int]
    """Of every call."""
    cores: float
    """CPU time of the process over wall-clock time."""


def take_turn(run: Run, batch: Tensors, *, seconds: float) -> Turn:
    """Call until the time is over, once at least."""
    durations: list[int] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    started, busy = time.perf_counter_ns(), time.process_time_ns()
    while True:
        before = time.perf_counter_ns()
        run(batch)
        after = time.perf_counter_ns()
        durations.append(after - before)
        if after >= end:
            break
    cores = (time.process_time_ns() - busy) / max(1, after - started)
    return Turn(nanoseconds=durations, cores=cores)
