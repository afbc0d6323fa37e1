"""Recipes: which passes, in which order, make which variant for which target and kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimize.errors import OptimizeError
from optimize.passes.export import Lane
from optimize.passes.float16 import Float16
from optimize.passes.fuse import Fuse
from optimize.passes.quantize_dynamic import QuantizeDynamic
from optimize.passes.quantize_static import QuantizeStatic, Scheme
from optimize.schema import Target

if TYPE_CHECKING:
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
    """Of the file that `passes` lead to; an engine may be built from it afterwards."""
    lane: Lane
    """The exporter that writes the graph which the first pass is given."""
    passes: tuple[GraphPass, ...] = ()


def recipes_for(*, target: Target, task: str) -> tuple[Recipe, ...]:
    """The candidates for `target`, in the order in which they are worth trying.

    `target` is a machine (`auto` must have been resolved); `none` has no candidates. `task` is the
    manifest's. Raises OptimizeError for a task that no recipe exists for.
    """
    if task not in (TEXT, IMAGE):
        raise OptimizeError(f"task={task!r}: there are recipes for {TEXT} and {IMAGE} only")
    return _RECIPES.get((target, task), ())


_FUSE = Fuse()
_RECIPES: dict[tuple[Target, str], tuple[Recipe, ...]] = {
    (Target.cpu, TEXT): (
        Recipe(name="fp32-fused", precision="fp32", lane=Lane.torchscript, passes=(_FUSE,)),
        Recipe(
            name="int8-dynamic",
            precision="int8",
            lane=Lane.torchscript,
            passes=(_FUSE, QuantizeDynamic()),
        ),
    ),
    (Target.cpu, IMAGE): (
        Recipe(
            name="int8-static",
            precision="int8",
            lane=Lane.dynamo,
            passes=(QuantizeStatic(scheme=Scheme.u8s8),),
        ),
    ),
    (Target.cuda, TEXT): (
        Recipe(name="fp32-fused", precision="fp32", lane=Lane.torchscript, passes=(_FUSE,)),
        Recipe(
            name="fp16-fused",
            precision="fp16",
            lane=Lane.torchscript,
            passes=(_FUSE, Float16()),
        ),
    ),
    (Target.cuda, IMAGE): (
        Recipe(name="fp16", precision="fp16", lane=Lane.dynamo, passes=(Float16(),)),
    ),
    **{
        (Target.tensorrt, task): (
            Recipe(name="fp16", precision="fp16", lane=Lane.dynamo, passes=(Float16(),)),
            Recipe(
                name="int8-static",
                precision="int8",
                lane=Lane.dynamo,
                passes=(QuantizeStatic(scheme=Scheme.s8s8),),
            ),
        )
        for task in (TEXT, IMAGE)
    },
}
