"""Graphs as exporters leave them: other dimensions than a batch, scalars, and no shapes at all."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.served_bundles import value

FLOAT = TensorProto.FLOAT


def graph(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    *,
    weights: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Not checked: the package onnx refuses some of what ONNX Runtime runs."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "bare", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())


def cross_onnx(*, rows: tuple[Any, Any] = ("pictures", "texts"), outputs: Any = None) -> bytes:
    """`a` (N, 2), `b` (M, 2) → `y` = a bᵀ (N, M), as CLIP compares pictures with texts."""
    return graph(
        [
            helper.make_node("Transpose", ["b"], ["columns"], perm=[1, 0]),
            helper.make_node("MatMul", ["a", "columns"], ["y"]),
        ],
        [value("a", FLOAT, [rows[0], 2]), value("b", FLOAT, [rows[1], 2])],
        [value("y", FLOAT, list(rows) if outputs is None else outputs)],
    )


def added_onnx(first: Any, second: Any, total: Any) -> bytes:
    """`a` and `b` → `y` = a + b, with the first dimensions of these names."""
    return graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [value("a", FLOAT, [first, 2]), value("b", FLOAT, [second, 2])],
        [value("y", FLOAT, [total, 2])],
    )


def one_node_onnx(
    operator: str, shape: Any, result: Any = "the same", *, kind: int = FLOAT, **attributes: Any
) -> bytes:
    """`x` → `y`; a shape of None is none at all."""
    return graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        [value("x", kind, shape)],
        [value("y", kind, shape if result == "the same" else result)],
    )


def waves_onnx(width: int, *, deep: int) -> bytes:
    """`x` (N, width) → `y`, its sine of its sine and so on: as much work for each sample."""
    names = ["x", *(f"x{number}" for number in range(1, deep)), "y"]
    return graph(
        [helper.make_node("Sin", [before], [after]) for before, after in itertools.pairwise(names)],
        [value("x", FLOAT, ["batch", width])],
        [value("y", FLOAT, ["batch", width])],
    )


def reshaped_onnx(sizes: list[int], shape: list[Any], result: Any) -> bytes:
    """`x` → `y`, which has those sizes whatever x has."""
    return graph(
        [helper.make_node("Reshape", ["x", "sizes"], ["y"])],
        [value("x", FLOAT, shape)],
        [value("y", FLOAT, result)],
        weights={"sizes": np.array(sizes, np.int64)},
    )


def squeezed_onnx(sizes: list[int], shape: list[Any]) -> bytes:
    """`x` → `y`, whose number of dimensions nobody can foretell."""
    return graph(
        [
            helper.make_node("Reshape", ["x", "sizes"], ["wide"]),
            helper.make_node("Squeeze", ["wide"], ["y"]),
        ],
        [value("x", FLOAT, shape)],
        [value("y", FLOAT, None)],
        weights={"sizes": np.array(sizes, np.int64)},
    )


def one_row_onnx() -> bytes:
    """`x` (N, 4) → `y` (N, 4), but somebody exported it for a batch of one."""
    return graph(
        [
            helper.make_node("Transpose", ["x"], ["columns"], perm=[1, 0]),
            helper.make_node("MatMul", ["columns", "row"], ["product"]),
            helper.make_node("ReduceSum", ["product"], ["total"], keepdims=0),
            helper.make_node("Add", ["x", "total"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 4])],
        [value("y", FLOAT, ["N", 4])],
        weights={"row": np.ones((1, 4), np.float32)},
    )


def convolved_onnx() -> bytes:
    """`x` (N, 1, H, W) → `y`, for which one pixel is too small."""
    return graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])],
        [value("x", FLOAT, [None, 1, "height", "width"])],
        [value("y", FLOAT, None)],
        weights={"kernel": np.ones((1, 1, 3, 3), np.float32)},
    )


def joined_onnx(reduction: str, operator: str, *, kind: int = FLOAT) -> bytes:
    """`x` (N, 4) → `y`: x, and with it what a reduction over all rows gives."""
    return graph(
        [
            helper.make_node(reduction, ["x"], ["total"], axes=[0], keepdims=1),
            helper.make_node(operator, ["x", "total"], ["y"]),
        ],
        [value("x", kind, ["N", 4])],
        [value("y", kind, ["N", 4])],
    )


def attention_onnx(*, over_rows: bool) -> bytes:
    """`x` (N, 3, 4) → `y`: attention of the three to each other, or of all rows to each other."""
    swap = {"perm": [1, 0, 2]} if over_rows else {"perm": [0, 1, 2]}
    return graph(
        [
            helper.make_node("Transpose", ["x"], ["q"], **swap),
            helper.make_node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["q", "k"], ["likeness"]),
            helper.make_node("Softmax", ["likeness"], ["shares"], axis=-1),
            helper.make_node("MatMul", ["shares", "q"], ["mixed"]),
            helper.make_node("Transpose", ["mixed"], ["y"], **swap),
        ],
        [value("x", FLOAT, ["N", 3, 4])],
        [value("y", FLOAT, ["N", 3, 4])],
    )


def normalized_onnx() -> bytes:
    """`x` (N, 4) → `y`: normalized within each row, and then less the largest of all rows."""
    return graph(
        [
            helper.make_node("LayerNormalization", ["x", "one"], ["row"], axis=-1),
            helper.make_node("ReduceMax", ["row"], ["largest"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["row", "largest"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 4])],
        [value("y", FLOAT, ["N", 4])],
        weights={"one": np.ones(4, np.float32)},
    )


def quantizing_onnx() -> bytes:
    """`x` (N, 170) → `y` (N, 1): a sum of x, quantized by the range of all rows.

    Beside a row that has the first value all others are rounded up, from 1.6 steps to 2.
    """
    factors = np.full(170, 1.6 / 255, np.float32)
    factors[0] = 1
    return graph(
        [
            helper.make_node("Mul", ["x", "factors"], ["scaled"]),
            helper.make_node("DynamicQuantizeLinear", ["scaled"], ["steps", "step", "zero"]),
            helper.make_node("MatMulInteger", ["steps", "weights", "zero"], ["whole"]),
            helper.make_node("Cast", ["whole"], ["real"], to=FLOAT),
            helper.make_node("Mul", ["real", "step"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 170])],
        [value("y", FLOAT, ["N", 1])],
        weights={"factors": factors, "weights": np.ones((170, 1), np.int8)},
    )


def random_onnx(rows: str) -> bytes:
    """`x` (N, 4) → `y` (rows, 4) = x and random numbers."""
    return graph(
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"]),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 4])],
        [value("y", FLOAT, [rows, 4])],
    )


def looked_up_onnx() -> bytes:
    """`ids` int64 (N, T) → `y` (N, T), of two entries."""
    return graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [value("ids", TensorProto.INT64, ["N", "T"])],
        [value("y", FLOAT, ["N", "T"])],
        weights={"table": np.array([0.25, 1], np.float32)},
    )


def offset_onnx() -> bytes:
    """`ids` int64 (N, 1), `x` (N, 2) → `y` = x and an entry; the table has none for 0."""
    return graph(
        [
            helper.make_node("Mul", ["ids", "two"], ["twice"]),
            helper.make_node("Sub", ["twice", "three"], ["index"]),
            helper.make_node("Gather", ["table", "index"], ["entry"]),
            helper.make_node("Add", ["x", "entry"], ["y"]),
        ],
        [value("ids", TensorProto.INT64, ["N", 1]), value("x", FLOAT, ["N", 2])],
        [value("y", FLOAT, ["N", 2])],
        weights={
            "two": np.array(2),
            "three": np.array(3),
            "table": np.array([0.25, 1], np.float32),
        },
    )


def masked_onnx() -> bytes:
    """`x` (N, 3) → `y` = x / x: NaN where it is zero."""
    return graph(
        [helper.make_node("Div", ["x", "x"], ["y"])],
        [value("x", FLOAT, ["N", 3])],
        [value("y", FLOAT, ["N", 3])],
    )


def tireless_onnx(rows: str) -> bytes:
    """`x` (N,) → `y` (rows,), after more rounds than anybody has time for."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Neg", ["before"], ["after"]),
        ],
        "round",
        [
            value("round", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("before", FLOAT, None),
        ],
        [value("on", TensorProto.BOOL, []), value("after", FLOAT, None)],
    )
    return graph(
        [helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)],
        [value("x", FLOAT, ["N"])],
        [value("y", FLOAT, [rows])],
        weights={"rounds": np.array(2**62), "true": np.array(True)},
    )


def endless_onnx() -> bytes:
    """`x` → nothing."""
    return graph([helper.make_node("Neg", ["x"], ["y"])], [value("x", FLOAT, ["N"])], [])


def zipmap_onnx() -> bytes:
    """A classifier as scikit-learn's converter exports it, with a list of dictionaries."""
    scores = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, None)
    )
    return graph(
        [helper.make_node("ZipMap", ["x"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        [value("x", FLOAT, ["N", 2])],
        [helper.make_value_info("z", helper.make_sequence_type_proto(scores))],
    )
