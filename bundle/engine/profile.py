"""ShapeProfile: the sizes that TensorRT prepares a model for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle.errors import RequestError
from bundle.tensor import DYNAMIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bundle.tensor import TensorSpec

Shape = tuple[int, ...]

_OPTIONS = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a size may be, and what it is best at."""

    least: int = 1
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise RequestError(
                f"a size from {self.least} to {self.most}, best at {self.best}, cannot be: "
                "expected 1 <= least <= best <= most",
                field="profile",
            )

    @classmethod
    def up_to(cls, most: int, *, best: int) -> Span:
        """From 1 to `most`; `best` is lowered to it."""
        return cls(best=min(best, most), most=most)


@dataclass(frozen=True, kw_only=True)
class ShapeProfile:
    """The smallest, best and largest shape of every input that has a dynamic size.

    Outside of it a plan runs nothing, and ONNX Runtime builds its engine anew, which takes minutes.
    """

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    @classmethod
    def of(cls, inputs: Iterable[TensorSpec], *, batch: Span, length: Span) -> ShapeProfile:
        """`batch` for a dynamic first dimension, `length` for every other dynamic one."""
        shapes = {}
        for spec in inputs:
            if DYNAMIC not in spec.shape:
                continue
            spans = [
                Span(least=size, best=size, most=size)
                if size != DYNAMIC
                else (length if position else batch)
                for position, size in enumerate(spec.shape)
            ]
            shapes[spec.name] = (
                tuple(span.least for span in spans),
                tuple(span.best for span in spans),
                tuple(span.most for span in spans),
            )
        return cls(shapes=shapes)

    @property
    def largest_batch(self) -> int | None:
        """None if every size is fixed."""
        return min((most[0] for _, _, most in self.shapes.values()), default=None)

    def provider_options(self) -> dict[str, str]:
        """For ONNX Runtime: `name:1x8,other:1x8` each; none if every size is fixed."""
        return {
            option: ",".join(
                f"{name}:{'x'.join(map(str, shapes[index]))}"
                for name, shapes in self.shapes.items()
            )
            for index, option in enumerate(_OPTIONS)
            if self.shapes
        }

    def to_dict(self) -> dict[str, list[list[int]]]:
        """As JSON, for a cache key."""
        return {name: [list(shape) for shape in three] for name, three in self.shapes.items()}
