"""Dynamic int8: integer matrix products whose activations are scaled by each batch's own range.

One scale spans the whole batch, so what an answer is depends on its company. `QuantizeRows` is the
form that does not.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from optimize.errors import OptimizeError
from optimize.passes.quiet import quiet
from optimize.passes.strip import prune_imports, strip, to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optimize.passes.base import Material

_OPERATORS = ("Attention", "MatMul")
_INTEGER = ("MatMulInteger", "QAttention")


@dataclass(frozen=True, kw_only=True)
class QuantizeDynamic:
    """int8 weights, one scale a column; uint8 activations, one scale a batch."""

    learns: ClassVar[bool] = False
    name: str = "quantize_dynamic"
    version: int = 1

    def parameters(self) -> Mapping[str, Any]:
        return {}

    def run(self, graph: bytes, material: Material) -> bytes:  # noqa: ARG002 - nothing is learned
        """Raises OptimizeError if nothing could be quantized."""
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = Path(folder) / "quantized.onnx"
            quantize_dynamic(
                onnx.load_model_from_string(graph),
                path,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                reduce_range=True,  # with eight bits, CPUs without VNNI overflow their 16-bit sums
                weight_type=QuantType.QInt8,
                # Shape inference knows no type behind the fused operators.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            model = onnx.load(path)
        if not any(node.op_type in _INTEGER for node in model.graph.node):
            raise OptimizeError("there is no matrix product with constant weights to quantize")
        prune_imports(model)
        strip(model)
        return to_bytes(model)
