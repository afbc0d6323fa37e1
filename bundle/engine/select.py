"""Which engine runs a variant here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.engine.onnx import OnnxEngine
from bundle.errors import EngineError, RequestError
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from bundle.archive import Bundle
    from bundle.engine.base import InferenceEngine


def load_engine(
    bundle: Bundle,
    *,
    variant: str | None = None,
    provider: str = "auto",
    threads: int | None = None,
    max_batch_size: int = 64,
) -> InferenceEngine:
    """The variant (None: the bundle's default), loaded. Raises NotFoundError, RequestError or
    EngineError, the last also where the graph's tensors are not those of the manifest.
    """
    manifest = bundle.manifest
    chosen = manifest.variant(variant or manifest.default_variant)
    if chosen.file is None:
        raise RequestError(
            f"variant {chosen.name!r} was refused and has no file: {chosen.gate.reason}",
            field="variant",
            remedy=f"use variant={manifest.default_variant}",
        )
    if chosen.format != "onnx":
        raise EngineError(
            f"variant {chosen.name!r} has format {chosen.format!r}, which no engine here runs",
            field="variant",
            remedy="choose a variant of format onnx",
        )
    engine = OnnxEngine(
        bundle.file(chosen.file),
        provider=provider,
        threads=threads,
        max_batch_size=max_batch_size,
    )
    _check_signature("inputs", manifest.inputs, engine.inputs)
    _check_signature("outputs", manifest.outputs, engine.outputs)
    return engine


def _check_signature(
    field: str, promised: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]
) -> None:
    if len(promised) == len(found) and all(map(_fits, promised, found)):
        return
    raise EngineError(
        f"the manifest's {field} are {_list(promised)}, but the model's are {_list(found)}",
        field=field,
    )


def _fits(promised: TensorSpec, found: TensorSpec) -> bool:
    """The graph may leave open what the manifest fixes, never the other way round."""
    return (
        (promised.name, promised.dtype) == (found.name, found.dtype)
        and len(promised.shape) == len(found.shape)
        and all(
            actual in (DYNAMIC, size)
            for size, actual in zip(promised.shape, found.shape, strict=True)
        )
    )


def _list(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs)
