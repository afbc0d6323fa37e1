"""TensorSpec: the name, element type and shape of one tensor that enters or leaves a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.fields import Fields

DYNAMIC = -1
"""A dimension whose size each call chooses."""

BFLOAT16 = "bfloat16"
STRING = "string"

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    BFLOAT16,
    STRING,
)
"""numpy's names, and the two element types that numpy does not have: a bfloat16 array is a uint16
array of its bits, a string array one of Python's str objects."""


def fits(shape: Sequence[int], wanted: Sequence[int], *, unranked: bool = False) -> bool:
    """Whether an array has the sizes wanted; where `unranked`, more may follow those."""
    return (len(shape) == len(wanted) or (unranked and len(shape) > len(wanted))) and all(
        size in (DYNAMIC, actual) for size, actual in zip(wanted, shape, strict=False)
    )


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One tensor of a model; `shape` has the batch dimension, and -1 where a size is dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    unranked: bool = False
    """Whether nobody tells how many dimensions it has: any may follow those of `shape`."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ManifestError("a tensor has an empty name", field="name")
        if self.dtype not in DTYPES:
            raise ManifestError(
                f"tensor {self.name!r} has dtype {self.dtype!r}; "
                f"expected one of {', '.join(DTYPES)}",
                field="dtype",
            )
        if any(size < DYNAMIC for size in self.shape):
            raise ManifestError(
                f"tensor {self.name!r} has shape {list(self.shape)}; "
                "a size is -1 (dynamic) or not negative",
                field="shape",
            )

    @property
    def batchable(self) -> bool:
        """Whether the first dimension is free to be the batch."""
        return bool(self.shape) and self.shape[0] == DYNAMIC

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of that shape is one of these tensors."""
        return fits(shape, self.shape, unranked=self.unranked)

    def to_dict(self) -> dict[str, Any]:
        shape = None if self.unranked else list(self.shape)
        return {"name": self.name, "dtype": self.dtype, "shape": shape}

    @classmethod
    def from_fields(cls, fields: Fields, *, bare: bool = False) -> TensorSpec:
        """`bare`: whether the shape may be null, since nobody tells it of a bare file."""
        name, dtype = fields.text("name"), fields.choice("dtype", DTYPES)
        read = fields.integers
        shape = fields.optional("shape", read) if bare else read("shape")
        fields.done()
        try:
            return cls(name=name, dtype=dtype, shape=shape or (), unranked=shape is None)
        except ManifestError as error:
            raise ManifestError(str(error), field=fields.path(error.field or "")) from error
