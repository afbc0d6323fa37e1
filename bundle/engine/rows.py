"""Rows: what the sizes, the names and the answers of a graph say of its first dimension."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bundle.batch_dimension import BatchDimension
from bundle.engine.ones import SIZES, ones
from bundle.errors import first_line
from bundle.tensor import DYNAMIC

if TYPE_CHECKING:
    from bundle.engine.base import InferenceEngine
    from bundle.preprocessing.preprocessor import Array
    from bundle.tensor import TensorSpec

_GENERATED = re.compile(
    r"unk__\d+"  # tf2onnx, and shape inference
    r"|.*_dynamic_axes_\d+|.*_dim_\d+"  # torch.onnx, for axes without a name
    r"|(p2o\.)?DynamicDimension\.\d+"  # Paddle2ONNX
    r"|None|\?|-1"
)
"""Names that an exporter makes up, another one for every tensor: that two differ tells nothing."""

_LIKENESS = 0.01
"""How much an answer may differ in company, of the largest value in it: more than by rounding."""


def find_batch_dimension(engine: InferenceEngine) -> BatchDimension:
    """Told by the sizes, then by their names, and then by what becomes of one row and of two.

    The engine must take whole tensors, which is to say that it is not batchable.
    """
    reason = _by_shapes(engine) or _by_names(engine)
    return BatchDimension(shared=False, reason=reason) if reason else _by_rows(engine)


def _by_shapes(engine: InferenceEngine) -> str:
    """Why the first dimensions cannot be a batch; of an output, nobody need tell the shape."""
    for spec in (*engine.inputs, *(each for each in engine.outputs if not each.unranked)):
        if spec.unranked:
            return f"the graph tells no shape of {spec.name!r}"
        if not spec.batchable:
            return f"{spec.name!r} has the shape {list(spec.shape)}, without a dynamic first size"
    return ""


def _by_names(engine: InferenceEngine) -> str:
    """Why the names of the dimensions say that the first ones are not the same everywhere."""
    named = _named(engine)
    first: dict[str, str] = {}
    for tensor, (name, *_) in named.items():
        if name:
            first.setdefault(name, tensor)
    telling = [(name, tensor) for name, tensor in first.items() if not _GENERATED.fullmatch(name)]
    if len(telling) > 1:
        (name, tensor), (other_name, other), *_ = telling
        return f"{tensor!r} has {name!r} rows, but {other!r} has {other_name!r}"
    for tensor, (_, *later) in named.items():
        for name in first.keys() & set(later):
            return f"{name!r} is the first size of {first[name]!r}, and a later one of {tensor!r}"
    return ""


def _named(engine: InferenceEngine) -> dict[str, tuple[str | None, ...]]:
    return {
        spec.name: names
        for spec in (*engine.inputs, *engine.outputs)
        if (names := engine.dimension_names.get(spec.name))
    }


def _by_rows(engine: InferenceEngine) -> BatchDimension:
    """Two equal rows must be answered by two, each like the one that one row is answered by."""
    failure = ""
    for size in SIZES:
        try:
            one = _answers(engine, rows=1, size=size)
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises, it is no answer
            failure = failure or first_line(error)
            continue
        try:
            two = _answers(engine, rows=2, size=size)
        except Exception as error:  # noqa: BLE001 - the same
            return BatchDimension(
                shared=False, reason=f"it takes one row, but not two: {first_line(error)}"
            )
        reason = next((found for name in one if (found := _apart(name, one[name], two[name]))), "")
        return BatchDimension(shared=not reason, reason=reason)
    unknown = [spec.name for spec in engine.outputs if spec.unranked]
    told = f"of {unknown[0]!r} no shape is told" if unknown else "only names and sizes tell"
    return BatchDimension(
        shared=not unknown, reason=f"{told}, because it does not answer ones: {failure}"
    )


def _answers(engine: InferenceEngine, *, rows: int, size: int) -> dict[str, Array]:
    return engine.predict(ones((_rows(spec, rows) for spec in engine.inputs), size=size))


def _apart(name: str, one: Array, two: Array) -> str:
    """Why the rows of an output are not what one row alone would have been answered."""
    if one.shape[:1] != (1,) or two.shape != (2, *one.shape[1:]):
        return (
            f"{name!r} has the shape {list(one.shape)} for one row, but {list(two.shape)} for two"
        )
    if one.dtype.kind != "f" or one.size == 0:
        return ""
    with np.errstate(all="ignore"):  # infinite values may meet
        scale = float(np.nan_to_num(np.abs(one), posinf=0.0).max())
        same = np.allclose(two, one, rtol=0.0, atol=_LIKENESS * scale, equal_nan=True)
    return "" if same else f"{name!r} has other values for one row than for two that are equal"


def _rows(spec: TensorSpec, rows: int) -> TensorSpec:
    known, *others = spec.shape
    if known != DYNAMIC:
        raise AssertionError("a fixed size was to be found sooner")
    return replace(spec, shape=(rows, *others))
