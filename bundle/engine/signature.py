"""Signature: the tensors that an ONNX graph says it takes and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundle.errors import EngineError
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_DTYPES = {
    "bool": "bool",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "float16": "float16",
    "float": "float32",
    "double": "float64",
    "bfloat16": "bfloat16",
    "string": "string",
}

_PLACEHOLDERS = ("", "?", "None", "-1")
"""What exporters write for any dynamic size: that two are called so does not make them equal."""


def read_specs(
    arguments: Sequence[Any], *, shapeless: Callable[[], Collection[str]]
) -> tuple[TensorSpec, ...]:
    """The specs of a session's inputs or outputs. Raises EngineError for what is no tensor.

    `shapeless` gives the names of those without a shape, and is asked only where it may be.
    """
    dtypes = list(map(_dtype, arguments))  # first, since only tensors have shapes
    unranked = shapeless() if any(not argument.shape for argument in arguments) else ()
    return tuple(
        TensorSpec(
            name=argument.name,
            dtype=dtype,
            shape=_shape(argument.shape),
            unranked=not argument.shape and argument.name in unranked,
        )
        for argument, dtype in zip(arguments, dtypes, strict=True)
    )


def dimension_names(arguments: Sequence[Any]) -> dict[str, tuple[str | None, ...]]:
    """For each tensor, the name of every dimension that has one: equal names mean equal sizes."""
    return {
        argument.name: tuple(
            size if isinstance(size, str) and size not in _PLACEHOLDERS else None
            for size in argument.shape
        )
        for argument in arguments
    }


def _dtype(argument: Any) -> str:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    if not argument.type.startswith("tensor(") or kind not in _DTYPES:
        raise EngineError(
            f"the model's {argument.name!r} is a {argument.type}, which is not supported",
            field=argument.name,
            remedy=_remedy(argument),
        )
    return _DTYPES[kind]


def _remedy(argument: Any) -> str:
    if argument.type.startswith("tensor("):
        return f"cast {argument.name!r} inside the model, so that it is of float32 outside"
    if argument.type.startswith("seq(map("):  # of ZipMap, which sklearn's converter ends with
        return 'export it with options={"zipmap": False}, so that probabilities are a tensor'
    return f"export a graph in which {argument.name!r} is a tensor, or which is without it"


def _shape(sizes: Sequence[int | str | None]) -> tuple[int, ...]:
    return tuple(
        size if isinstance(size, int) and size >= 0 else DYNAMIC  # a name, or nothing: dynamic
        for size in sizes
    )
