"""int8 matrix products in which every row of the activations, that is every token, has a scale.

Dynamic quantization as ONNX Runtime writes it scales a whole batch by its largest value, and so
answers differently in other company. Here a row's integers depend on that row alone: what is
answered is the same in every batch, and an outlier in one token costs no other one its precision.
The idea is vLLM's and LLM.int8's "vector-wise" quantization (https://arxiv.org/abs/2208.07339).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optimize.errors import OptimizeError
from optimize.passes.rewriter import MICROSOFT, Rewriter
from optimize.passes.weights import quantize_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import onnx

    from optimize.passes.base import Material
    from optimize.reference import Array

_WEIGHT_BITS = 7
"""With eight, CPUs without VNNI overflow their 16-bit sums: the same file would then answer
differently on another CPU than the one it was certified on."""
_ZERO_POINT = 128
_LARGEST = 127
_SMALLEST_SCALE = 1e-30  # of a row of zeros


@dataclass(frozen=True, kw_only=True)
class QuantizeRows:
    """int8 weights, one scale a column; uint8 activations around 128, one scale a row."""

    learns: ClassVar[bool] = False
    name: str = "quantize_rows"
    version: int = 1

    def parameters(self) -> Mapping[str, Any]:
        return {}

    def run(self, graph: bytes, material: Material) -> bytes:
        """Raises OptimizeError if there is nothing to quantize."""
        return self.prepare(graph, material)(())

    def candidates(self, graph: bytes) -> tuple[str, ...]:
        """Names of the nodes that can be quantized, in the graph's order."""
        rewriter = Rewriter(graph)
        return tuple(node.name for node in rewriter.nodes if _weight(rewriter, node) is not None)

    def prepare(
        self,
        graph: bytes,
        material: Material,  # noqa: ARG002 - nothing is learned
    ) -> Callable[[Collection[str]], bytes]:
        """From the names of the nodes that stay in float32 to the quantized graph."""
        return lambda exclude: self._quantize(graph, exclude)

    def _quantize(self, graph: bytes, exclude: Collection[str]) -> bytes:
        rewriter = Rewriter(graph)
        rows: dict[str, _Rows] = {}
        count = 0
        for node in rewriter.nodes:
            weight = _weight(rewriter, node)
            if weight is None or node.name in exclude:
                rewriter.keep(node)
                continue
            source = node.input[0]
            if source not in rows:
                rows[source] = _quantize_rows(rewriter, source, width=weight.shape[0])
            self._multiply(rewriter, node, rows[source], weight)
            count += 1
        if not count:
            raise OptimizeError("there is no matrix product with constant weights to quantize")
        return rewriter.to_bytes()

    def _multiply(
        self, rewriter: Rewriter, node: onnx.NodeProto, rows: _Rows, weight: Array
    ) -> None:
        """`node`'s product in integers, brought back to float32 and to its own shape."""
        name, output = node.input[1], node.output[0]
        columns = weight.shape[1]
        values, scales = quantize_weight(weight, axis=1, bits=_WEIGHT_BITS)
        products = rewriter.emit(
            "MatMulIntegerToFloat",
            [
                rows.values,
                rewriter.constant(f"{name}_int8", values),
                rewriter.constant("rows/one", np.array(1, np.float32)),
                rewriter.constant(f"{name}_scales", scales),
                rewriter.constant("rows/zero_point", np.array(_ZERO_POINT, np.uint8)),
            ],
            rewriter.fresh(f"{output}_products"),
            domain=MICROSOFT,
        )  # (rows, columns), without the rows' scales
        scaled = rewriter.emit("Mul", [products, rows.scales], rewriter.fresh(f"{output}_rows"))
        shape = rewriter.emit(
            "Concat",
            [
                rows.leading,
                rewriter.constant(f"rows/columns_{columns}", np.array([columns], np.int64)),
            ],
            rewriter.fresh(f"{output}_shape"),
            axis=0,
        )
        rewriter.emit("Reshape", [scaled, shape], output)


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Names of what stands for a float32 tensor (…, width), taken as rows."""

    values: str
    """uint8 (rows, width)"""
    scales: str
    """float32 (rows, 1)"""
    leading: str
    """int64: the tensor's shape without its last axis."""


def _weight(rewriter: Rewriter, node: onnx.NodeProto) -> Array | None:
    return rewriter.weight(node.input[1]) if node.op_type == "MatMul" else None


def _quantize_rows(rewriter: Rewriter, source: str, *, width: int) -> _Rows:
    def name(suffix: str) -> str:
        return rewriter.fresh(f"{source}_{suffix}")

    flat = rewriter.emit(
        "Reshape",
        [source, rewriter.constant(f"rows/flat_{width}", np.array([-1, width], np.int64))],
        name("flat"),
    )  # (rows, width)
    top = _reduce(rewriter, "ReduceMax", flat, name("max"))
    low = _reduce(rewriter, "ReduceMin", flat, name("min"))
    depth = rewriter.emit("Neg", [low], name("depth"))
    largest = rewriter.emit("Max", [top, depth], name("largest"))  # (rows,)
    ratio = rewriter.emit(
        "Div",
        [largest, rewriter.constant("rows/largest", np.array(_LARGEST, np.float32))],
        name("ratio"),
    )
    scale = rewriter.emit(
        "Max",
        [ratio, rewriter.constant("rows/smallest", np.array(_SMALLEST_SCALE, np.float32))],
        name("scale"),
    )  # (rows,)
    count = rewriter.emit("Shape", [scale], name("count"))
    zero_points = rewriter.emit(
        "Expand",
        [rewriter.constant("rows/zero_points", np.array([_ZERO_POINT], np.uint8)), count],
        name("zero_points"),
    )  # (rows,)
    return _Rows(
        values=rewriter.emit("QuantizeLinear", [flat, scale, zero_points], name("uint8"), axis=0),
        scales=rewriter.emit("Unsqueeze", [scale, _last(rewriter)], name("scales")),
        leading=rewriter.emit("Shape", [source], name("leading"), start=0, end=-1),
    )


def _reduce(rewriter: Rewriter, operator: str, source: str, output: str) -> str:
    """Over the last axis, which then is gone; an attribute became an input with opset 18."""
    if rewriter.opset < 18:
        return rewriter.emit(operator, [source], output, axes=[-1], keepdims=0)
    return rewriter.emit(operator, [source, _last(rewriter)], output, keepdims=0)


def _last(rewriter: Rewriter) -> str:
    return rewriter.constant("rows/last", np.array([-1], np.int64))
