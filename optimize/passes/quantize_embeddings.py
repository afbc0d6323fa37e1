"""int8 tables of embeddings, one scale a row: half of a small BERT's size, and none of its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from optimize.errors import OptimizeError
from optimize.passes.rewriter import Rewriter
from optimize.passes.weights import quantize_weight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optimize.passes.base import Material


@dataclass(frozen=True, kw_only=True)
class QuantizeEmbeddings:
    """Look up int8 rows and their scales, and multiply; arithmetic stays in float32."""

    name: str = "quantize_embeddings"
    version: int = 1
    smallest: int = 1 << 14
    """Values in a table below which it stays as it is."""

    def parameters(self) -> Mapping[str, Any]:
        return {"smallest": self.smallest}

    def run(self, graph: bytes, material: Material) -> bytes:  # noqa: ARG002 - nothing is learned
        """Raises OptimizeError if the graph looks nothing up in a table."""
        rewriter = Rewriter(graph)
        count = 0
        for node in rewriter.nodes:
            table = rewriter.weight(node.input[0]) if node.op_type == "Gather" else None
            by_rows = all(entry.name != "axis" or entry.i == 0 for entry in node.attribute)
            if table is None or not by_rows or table.size < self.smallest:
                rewriter.keep(node)
                continue
            _look_up(rewriter, node, *quantize_weight(table, axis=0))
            count += 1
        if not count:
            raise OptimizeError("the graph has no table of embeddings to quantize")
        return rewriter.to_bytes()


def _look_up(rewriter: Rewriter, node: onnx.NodeProto, values: Any, scales: Any) -> None:
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
