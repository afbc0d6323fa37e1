"""Recipes: which passes, in which order, make which variant for which target and kind of model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bundle.variant import PLAN_FORMAT
from optimize.errors import OptimizeError
from optimize.passes.export import Lane
from optimize.passes.float16 import Float16
from optimize.passes.fuse import Fuse
from optimize.passes.mixed import Mixed
from optimize.passes.quantize_dynamic import QuantizeDynamic
from optimize.passes.quantize_embeddings import QuantizeEmbeddings
from optimize.passes.quantize_rows import QuantizeRows
from optimize.passes.quantize_static import QuantizeStatic, Scheme
from optimize.schema import CalibrationConfig, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from optimize.passes.base import GraphPass

TEXT = "text-classification"
IMAGE = "image-classification"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One variant: its name, what it will be, and how it is made of the exported graph."""

    name: str
    """The variant's name in the manifest and in the tables."""
    precision: str
    """"fp32", "fp16" or "int8", as in the manifest."""
    format: str = "onnx"
    """"onnx", as `passes` leave it, or "tensorrt": a plan is built of what they lead to."""
    lane: Lane
    """The exporter that writes the graph which the first pass is given."""
    passes: tuple[GraphPass, ...] = ()


def recipes_for(
    target: Target, task: str, *, calibration: CalibrationConfig | None = None
) -> tuple[Recipe, ...]:
    """The candidates for `target`, in the order in which they are worth trying.

    `target` is a machine (`auto` must have been resolved); `none` has no candidates. `task` is the
    manifest's. Raises OptimizeError for a task that no recipe exists for.
    """
    if task not in (TEXT, IMAGE):
        raise OptimizeError(f"task={task!r}: there are recipes for {TEXT} and {IMAGE} only")
    settings = calibration or CalibrationConfig()
    static = partial(QuantizeStatic, ranges=settings.ranges, percentile=settings.percentile)
    return _recipes(static).get((target, task), ())


_FUSED = (Fuse(),)
_FUSED_FOR_GPU = (Fuse(residuals=True),)
_SMALL = (Fuse(for_quantization=True), QuantizeEmbeddings())


def _text(name: str, precision: str, passes: tuple[GraphPass, ...]) -> Recipe:
    """For a runtime that has the fused operators."""
    return Recipe(name=name, precision=precision, lane=Lane.torchscript, passes=passes)


def _plain(name: str, precision: str, *passes: GraphPass) -> Recipe:
    """Of standard operators alone, as TensorRT needs and images want."""
    return Recipe(name=name, precision=precision, lane=Lane.dynamo, passes=passes)


def _with_plans(*recipes: Recipe) -> tuple[Recipe, ...]:
    """Each as a graph, which other machines fall back to, and as a plan. fp32 is a graph anyway, if
    of texts one that another exporter wrote.
    """
    return (
        *recipes,
        *(
            replace(each, name=f"{each.precision}-tensorrt", format=PLAN_FORMAT)
            for each in (_plain("fp32", "fp32"), *recipes)
        ),
    )


def _recipes(
    static: Callable[..., QuantizeStatic],
) -> dict[tuple[Target, str], tuple[Recipe, ...]]:
    """`static`: the pass with the calibration that was asked for."""
    for_cpu = static(scheme=Scheme.u8s8, reduce_range=True)
    return {
        (Target.cpu, TEXT): (
            _text("fp32-fused", "fp32", _FUSED),
            _text("int8-rows", "int8", (*_SMALL, QuantizeRows())),
            _text("int8-mixed", "int8", (*_SMALL, Mixed(quantizer=QuantizeRows()))),
            _text("int8-dynamic", "int8", (*_SMALL, QuantizeDynamic())),
        ),
        (Target.cpu, IMAGE): (
            _plain("int8-static", "int8", for_cpu),
            _plain("int8-mixed", "int8", Mixed(quantizer=for_cpu, samples=16)),
            _plain("fp16", "fp16", Float16()),
        ),
        (Target.cuda, TEXT): (
            _text("fp32-fused", "fp32", _FUSED_FOR_GPU),
            _text("fp16-fused", "fp16", (*_FUSED_FOR_GPU, Float16())),
        ),
        (Target.cuda, IMAGE): (_plain("fp16", "fp16", Float16()),),
        (Target.tensorrt, TEXT): _with_plans(
            _plain("fp16", "fp16", Float16()),
            _plain(
                "int8-static",
                "int8",
                static(scheme=Scheme.s8s8, operators=("MatMul",)),
                QuantizeEmbeddings(whole=True),
            ),
        ),
        (Target.tensorrt, IMAGE): _with_plans(
            _plain("fp16", "fp16", Float16()),
            _plain("int8-static", "int8", static(scheme=Scheme.s8s8)),
        ),
    }
