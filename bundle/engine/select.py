"""Which engine runs a variant here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bundle.engine.availability import provider_missing
from bundle.engine.onnx import OnnxEngine
from bundle.engine.openvino import OpenVinoEngine, openvino_missing
from bundle.engine.plan import PlanKey
from bundle.engine.profile import ShapeProfile, Span
from bundle.engine.providers import FALLBACKS, built_in
from bundle.engine.tensorrt import TensorRTEngine
from bundle.errors import EngineError, RequestError
from bundle.tensor import TensorSpec, fits
from bundle.uri import default_cache
from bundle.variant import PLAN_FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bundle.archive import Bundle
    from bundle.engine.base import InferenceEngine
    from bundle.manifest import Manifest
    from bundle.preprocessing.config import PreprocessingConfig
    from bundle.variant import Variant

PLAN_PROVIDERS = ("auto", "tensorrt")


_BEST_BATCH = 8
_BEST_LENGTH = 128
_LONGEST = 512
"""Of a dynamic size that nothing bounds, for TensorRT, which must know."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A variant of a bundle, and why it is not the one that the bundle would have."""

    variant: str
    reason: str | None = None


def choose_variant(bundle: Bundle, *, variant: str | None = None, provider: str = "auto") -> Choice:
    """The variant that is named, else the bundle's default, if it can run here.

    A default that is a TensorRT plan runs on one kind of machine; elsewhere an ONNX variant takes
    its place: of the certified ones, else of all, the first; and on the provider that the graphs
    were judged on the one in the plan's precision, which it was built from. Elsewhere that one may
    be slow, and answer otherwise. Raises EngineError if there is none at all.
    """
    manifest = bundle.manifest
    default = manifest.variant(variant or manifest.default_variant)
    if variant is not None or default.format != PLAN_FORMAT or default.file is None:
        return Choice(variant=default.name)
    try:
        if provider not in PLAN_PROVIDERS:
            raise EngineError(f"variant {default.name!r} is a plan, but provider={provider}")
        PlanKey.here().check(default.file)
        return Choice(variant=default.name)
    except EngineError as error:
        others = [other for other in manifest.variants if other.format == "onnx" and other.file]
        if not others:
            raise
        precision = default.precision if _judged_on(manifest, provider) else None
        best = min(others, key=lambda o: (not o.certified, o.precision != precision))
        return Choice(variant=best.name, reason=str(error))


def _judged_on(manifest: Manifest, provider: str) -> bool:
    """Whether the graphs were certified on what ONNX Runtime will run them on here."""
    target = manifest.lineage.get("target")
    judged = target.get("provider") if isinstance(target, dict) else None
    runs = (each for each in FALLBACKS.get(provider, ()) if provider_missing(each) is None)
    return judged is not None and judged == next(runs, None)


def load_engine(
    bundle: Bundle,
    *,
    variant: str | None = None,
    provider: str = "auto",
    fallback: bool = False,
    threads: int | None = None,
    max_batch_size: int = 64,
) -> InferenceEngine:
    """The variant (None: the bundle's default), loaded. `fallback`: see OnnxEngine.

    Raises NotFoundError, RequestError or EngineError, the last also where the graph's tensors are
    not those of the manifest.
    """
    manifest = bundle.manifest
    chosen = manifest.variant(variant or manifest.default_variant)
    if chosen.file is None:
        raise RequestError(
            f"variant {chosen.name!r} was refused and has no file: {chosen.gate.reason}",
            field="variant",
            remedy=f"use variant={manifest.default_variant}",
        )
    path = bundle.file(chosen.file)
    longest = _LONGEST if bundle.batchable is False else max_batch_size
    engine: InferenceEngine
    if chosen.format == PLAN_FORMAT:
        _check_plan_provider(chosen.name, provider)
        engine = TensorRTEngine(path, max_batch_size=max_batch_size)
    elif provider == "openvino" and not built_in(provider) and openvino_missing() is None:
        engine = OpenVinoEngine(
            path, threads=threads, max_batch_size=max_batch_size, batchable=bundle.batchable
        )
    else:
        engine = OnnxEngine(
            path,
            provider=provider,
            fallback=fallback,
            threads=threads,
            max_batch_size=max_batch_size,
            batchable=bundle.batchable,
            **_for_tensorrt(manifest, chosen, longest) if provider == "tensorrt" else {},
        )
    _check_signature("inputs", manifest.inputs, engine.inputs, bare=bundle.bare)
    _check_signature("outputs", manifest.outputs, engine.outputs, bare=bundle.bare)
    return engine


def shape_profile(
    inputs: Iterable[TensorSpec],
    preprocessing: PreprocessingConfig | None,
    *,
    max_batch_size: int,
) -> ShapeProfile:
    """The sizes that a model will meet: batches up to the largest, texts up to theirs."""
    longest = getattr(preprocessing, "max_length", None) or _LONGEST
    return ShapeProfile.of(
        inputs,
        batch=Span.up_to(max_batch_size, best=_BEST_BATCH),
        length=Span.up_to(longest, best=_BEST_LENGTH),
    )


def _for_tensorrt(manifest: Manifest, chosen: Variant, max_batch_size: int) -> dict[str, Any]:
    profile = shape_profile(manifest.inputs, manifest.preprocessing, max_batch_size=max_batch_size)
    return tensorrt_options(chosen.sha256, profile)


def tensorrt_options(sha256: str, profile: ShapeProfile) -> dict[str, Any]:
    """What ONNX Runtime's TensorRT is told of the graph of that sha256, for OnnxEngine.

    Its engines go by the graph's structure and not by its weights, so each model has a folder of
    its own: a model that was trained again must never run in the engine of the one before.
    """
    timings = default_cache() / "tensorrt"
    cache = timings / sha256[:16]
    cache.mkdir(parents=True, exist_ok=True)
    return {"cache": cache, "timings": timings, "profile": profile}


def _check_plan_provider(variant: str, provider: str) -> None:
    if provider not in PLAN_PROVIDERS:
        raise RequestError(
            f"variant {variant!r} is a TensorRT plan, which provider={provider} cannot run",
            field="provider",
            remedy="use provider=tensorrt, or another variant",
        )


def _check_signature(
    field: str, promised: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...], *, bare: bool
) -> None:
    if len(promised) == len(found) and all(map(partial(_fits, bare=bare), promised, found)):
        return
    raise EngineError(
        f"the manifest's {field} are {_list(promised)}, but the model's are {_list(found)}",
        field=field,
    )


def _fits(promised: TensorSpec, found: TensorSpec, *, bare: bool) -> bool:
    """The graph may leave open what the manifest fixes, never the other way round; but of what a
    bare graph leaves open altogether, one runtime may find out more than another.
    """
    if (promised.name, promised.dtype) != (found.name, found.dtype):
        return False
    if promised.unranked or found.unranked:
        return bare
    return fits(promised.shape, found.shape)


def _list(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs)
