"""Rows: what the sizes, the names and the answers of a graph say of its first dimension."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np

from bundle.batch_dimension import BatchDimension
from bundle.bfloat16 import as_numbers
from bundle.engine.ones import SIZES, ones, zeros_and_ones
from bundle.errors import first_line
from bundle.tensor import DYNAMIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle.engine.onnx import OnnxEngine
    from bundle.preprocessing.preprocessor import Array
    from bundle.tensor import TensorSpec

    Tensors = dict[str, Array]

_GENERATED = re.compile(
    r"unk__\d+"  # tf2onnx, and shape inference
    r"|.*_dynamic_axes_\d+|.*_dim_\d+"  # torch.onnx, for axes without a name
    r"|[su]\d+"  # torch.export
    r"|.*_d\d+"  # ONNX Runtime's symbolic shape inference
    r"|(p2o\.)?DynamicDimension\.\d+"  # Paddle2ONNX
)
"""Names that an exporter makes up, another one for every tensor: that two differ tells nothing."""

_SECONDS = 5.0
"""How long a model may take over its rows: they are asked in every worker, before it serves."""

_SIZES = (2, *SIZES)
"""Of two words one is not masked in a row of 0 and 1: where all are, the answer may be NaN."""

_NOISE = 0.01
"""How much an answer may differ in company, of how far answers lie apart and from 0: bfloat16 has
no three digits, and a large batch is added up in another order."""
_SCALED_NOISE = 0.1
"""The same where a scale is that of the whole batch: 0.05 was met in quantized transformers, which
are batched all the same."""


def find_batch_dimension(
    engine: OnnxEngine, *, scales: bool = False, seconds: float = _SECONDS
) -> BatchDimension:
    """Told by the sizes, then by their names, and then by what becomes of two rows in one run.

    The engine must take whole tensors, which is to say that it is not batchable. It is of no use
    afterwards where its rows took longer than `seconds`. `scales`: see `scales_by_batch`.
    """
    reason = _by_shapes(engine) or _by_names(engine)
    if reason:
        return BatchDimension(shared=False, reason=reason)
    with _stopping(engine, seconds):
        return _by_rows(engine, noise=_SCALED_NOISE if scales else _NOISE)


@contextmanager
def _stopping(engine: OnnxEngine, seconds: float) -> Iterator[None]:
    timer = Timer(seconds, engine.stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _by_shapes(engine: OnnxEngine) -> str:
    """Why the first dimensions cannot be a batch; of an output, nobody need tell the shape."""
    for spec in (*engine.inputs, *(each for each in engine.outputs if not each.unranked)):
        if spec.unranked:
            return f"the graph tells no shape of {spec.name!r}"
        if not spec.batchable:
            return f"{spec.name!r} has the shape {list(spec.shape)}, without a dynamic first size"
    return ""


def _by_names(engine: OnnxEngine) -> str:
    """Why the names of the dimensions say that the first ones are not the same everywhere."""
    telling = _telling(_first_names(engine, engine.inputs))
    if len(telling) > 1:
        (name, tensor), (other_name, other), *_ = telling
        return f"{tensor!r} has {name!r} rows, but {other!r} has {other_name!r}"
    specs = (*engine.inputs, *engine.outputs)
    first, named = _first_names(engine, specs), _names(engine, specs)
    for tensor, (_, *later) in named.items():
        for name in first.keys() & set(later):
            return f"{name!r} is the first size of {first[name]!r}, and a later one of {tensor!r}"
    return ""


def _doubt(engine: OnnxEngine) -> str:
    """Why names alone cannot tell: an output may call the inputs' batch by a name of its own."""
    inputs = _first_names(engine, engine.inputs)
    for name, tensor in _telling(_first_names(engine, engine.outputs)):
        if name not in inputs:
            return f"no input has {name!r} rows as {tensor!r} has"
    unknown = [spec.name for spec in engine.outputs if spec.unranked]
    return f"of {unknown[0]!r} no shape is told" if unknown else ""


def _names(engine: OnnxEngine, specs: tuple[TensorSpec, ...]) -> dict[str, tuple[str | None, ...]]:
    return {spec.name: names for spec in specs if (names := engine.dimension_names.get(spec.name))}


def _first_names(engine: OnnxEngine, specs: tuple[TensorSpec, ...]) -> dict[str, str]:
    """The names of the first dimensions, each with the first tensor that has it."""
    first: dict[str, str] = {}
    for tensor, (name, *_) in _names(engine, specs).items():
        if name:
            first.setdefault(name, tensor)
    return first


def _telling(first: dict[str, str]) -> list[tuple[str, str]]:
    """Those that somebody chose."""
    return [(name, tensor) for name, tensor in first.items() if not _GENERATED.fullmatch(name)]


def _by_rows(engine: OnnxEngine, *, noise: float) -> BatchDimension:
    """Two rows must be answered by two, each as it is alone."""
    failure = ""
    for size in _SIZES:
        first, *others = _rows(engine, size)
        answer = _ask(engine, first)
        if isinstance(answer, str):
            failure = failure or answer
            continue
        for second in others:
            other = _ask(engine, second)
            if not isinstance(other, str):
                return _together(engine, (first, second), (answer, other), noise=noise)
        return _together(engine, (first, first), (answer, answer), noise=noise)
    return _untold(engine, f"it does not answer ones: {failure}")


def _rows(engine: OnnxEngine, size: int) -> list[Tensors]:
    """Ones, and what may be answered of other values: lengths, for instance, may not be 0."""
    specs = list(map(_one_row, engine.inputs))
    patterns = (ones, zeros_and_ones, partial(zeros_and_ones, whole=False))
    return [pattern(specs, size=size) for pattern in patterns]


def _one_row(spec: TensorSpec) -> TensorSpec:
    known, *others = spec.shape
    if known != DYNAMIC:
        raise AssertionError("a fixed size was to be found sooner")
    return replace(spec, shape=(1, *others))


def _ask(engine: OnnxEngine, inputs: Tensors) -> Tensors | str:
    """The answer, or why there is none."""
    try:
        return as_numbers(engine.outputs, engine.predict(inputs))
    except Exception as error:  # noqa: BLE001 - whatever the runtime raises, it is no answer
        return first_line(error)


def _together(
    engine: OnnxEngine,
    rows: tuple[Tensors, Tensors],
    alone: tuple[Tensors, Tensors],
    *,
    noise: float,
) -> BatchDimension:
    """What one run of both rows says, of which the answers to each are known."""
    first, second = rows
    pair = _ask(engine, {name: np.concatenate([first[name], second[name]]) for name in first})
    if isinstance(pair, str):
        if engine.stopped:
            return _untold(engine, pair)
        return BatchDimension(shared=False, reason=f"it takes one row, but not two: {pair}")
    apart = (_apart(name, alone, pair[name], noise=noise) for name in pair)
    reason = next(filter(None, apart), "")
    if reason and not all(map(partial(_repeats, engine, noise=noise), rows, alone)):
        return _untold(engine, "it does not answer one row twice in the same way")
    return BatchDimension(shared=not reason, reason=reason)


def _untold(engine: OnnxEngine, why: str) -> BatchDimension:
    """What is left to decide by where rows tell nothing."""
    if engine.stopped:
        why = "its rows take too long to be compared"
    doubt = _doubt(engine)
    return BatchDimension(
        shared=not doubt, reason=f"{doubt or 'only names and sizes tell'}, because {why}"
    )


def _apart(name: str, alone: tuple[Tensors, Tensors], pair: Array, *, noise: float) -> str:
    """Why the rows of an output are not what each of them alone was answered."""
    for answer in alone:
        one = answer[name]
        if one.shape[:1] != (1,) or pair.shape != (2, *one.shape[1:]):
            return (
                f"{name!r} has the shape {list(one.shape)} for one row, "
                f"but {list(pair.shape)} for two"
            )
    if _alike(np.concatenate([answer[name] for answer in alone]), pair, noise=noise):
        return ""
    return f"{name!r} has other values for one row than for the same beside another"


def _repeats(engine: OnnxEngine, row: Tensors, answer: Tensors, *, noise: float) -> bool:
    """Whether a row is answered as it was before; random numbers, as of dropout, are others."""
    again = _ask(engine, row)
    return isinstance(again, str) or all(
        again[name].shape == answer[name].shape and _alike(again[name], answer[name], noise=noise)
        for name in answer
    )


def _alike(one: Array, other: Array, *, noise: float) -> bool:
    """Whether arrays of one shape have the same values, or differ by no more than noise."""
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    values = np.concatenate([[0], one.ravel(), other.ravel()]).astype(np.float64)
    scale = float(np.ptp(values[np.isfinite(values)]))
    with np.errstate(all="ignore"):  # infinite values may meet
        return np.allclose(one, other, rtol=0.0, atol=noise * scale, equal_nan=True)
