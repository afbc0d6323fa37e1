"""TensorSpec: the name, element type and shape of one tensor that enters or leaves a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError

if TYPE_CHECKING:
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


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One tensor of a model; `shape` has the batch dimension, and -1 where a size is dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]

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

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_fields(cls, fields: Fields) -> TensorSpec:
        name, dtype = fields.text("name"), fields.choice("dtype", DTYPES)
        shape = fields.integers("shape")
        fields.done()
        try:
            return cls(name=name, dtype=dtype, shape=shape)
        except ManifestError as error:
            raise ManifestError(str(error), field=fields.path(error.field or "")) from error
