"""Graphs as exporters leave them: other dimensions than a batch, scalars, and no shapes at all."""

from __future__ import annotations

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
