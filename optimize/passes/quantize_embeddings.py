"""int8 tables of embeddings, one scale a row: half of a small BERT's size, and none of its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx

from optimize.errors import OptimizeError
from optimize.passes.rewriter import Rewriter
from optimize.passes.weights import quantize_weight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optimize.passes.base import Material
    from optimize.reference import Array


@dataclass(frozen=True, kw_only=True)
class QuantizeEmbeddings:
    """Look up int8 rows and their scales, and multiply; arithmetic stays in float32."""

    learns: ClassVar[bool] = False
    name: str = "quantize_embeddings"
    version: int = 1
    smallest: float = 0.1
    """Size below which a table stays as it is, as a share of the largest one's: the positions' is
    not worth an error."""
    whole: bool = False
    """Dequantize the table and look up its rows then: TensorRT makes floats of int8 by
    DequantizeLinear alone, with scales that are constants."""

    def parameters(self) -> Mapping[str, Any]:
        return {"smallest": self.smallest, "whole": self.whole}

    def run(self, graph: bytes, material: Material) -> bytes:  # noqa: ARG002 - nothing is learned
        """Raises OptimizeError if the graph looks nothing up in a table."""
        rewriter = Rewriter(graph)
        tables = (_table(rewriter, node) for node in rewriter.nodes)
        largest = max((table.size for table in tables if table is not None), default=0)
        if not largest:
            raise OptimizeError("the graph has no table of embeddings to quantize")
        for node in rewriter.nodes:
            table = _table(rewriter, node)
            if table is None or table.size < self.smallest * largest:
                rewriter.keep(node)
                continue
            look_up = _look_up_floats if self.whole else _look_up
            look_up(rewriter, node, *quantize_weight(table, axis=0))
        return rewriter.to_bytes()


def _table(rewriter: Rewriter, node: onnx.NodeProto) -> Array | None:
    """float32 (rows, width), of which `node` looks rows up; None for any other node."""
    if node.op_type != "Gather" or any(
        entry.name == "axis" and entry.i for entry in node.attribute
    ):
        return None
    return rewriter.weight(node.input[0])


def _look_up(rewriter: Rewriter, node: onnx.NodeProto, values: Array, scales: Array) -> None:
    """`node`'s rows from `values` (rows, width), each multiplied by its entry of `scales`."""
    table, indices = node.input
    output = node.output[0]
    rows = rewriter.emit(
        "Gather",
        [rewriter.constant(f"{table}_int8", values), indices],
        rewriter.fresh(f"{output}_int8"),
    )  # int8 (…, width)
    numbers = rewriter.emit(
        "Cast", [rows], rewriter.fresh(f"{output}_float"), to=onnx.TensorProto.FLOAT
    )
    scale = rewriter.emit(
        "Gather",
        [rewriter.constant(f"{table}_scales", scales[:, np.newaxis]), indices],
        rewriter.fresh(f"{output}_scale"),
    )  # float32 (…, 1)
    rewriter.emit("Mul", [numbers, scale], output)


def _look_up_floats(rewriter: Rewriter, node: onnx.NodeProto, values: Array, scales: Array) -> None:
    """`node`'s rows from the whole table in float32, `values` times `scales` row by row."""
    table, indices = node.input
    floats = rewriter.emit(
        "DequantizeLinear",
        [
            rewriter.constant(f"{table}_int8", values),
            rewriter.constant(f"{table}_scales", scales),
            rewriter.constant(f"{table}_zero_points", np.zeros(len(values), np.int8)),
        ],
        rewriter.fresh(f"{table}_float"),
        axis=0,
    )  # float32 (rows, width)
    rewriter.emit("Gather", [floats, indices], node.output[0])
