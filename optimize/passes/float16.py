"""float16 weights and arithmetic; inputs and outputs keep their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from optimize.errors import OptimizeError
from optimize.passes.quiet import quiet
from optimize.passes.strip import prune_imports, strip, to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optimize.passes.base import Material


@dataclass(frozen=True, kw_only=True)
class Float16:
    """Half the size; faster where the hardware computes in float16, which CPUs do not."""

    learns: ClassVar[bool] = False
    name: str = "float16"
    version: int = 1

    def parameters(self) -> Mapping[str, Any]:
        return {}

    def run(self, graph: bytes, material: Material) -> bytes:  # noqa: ARG002 - nothing is learned
        """Raises OptimizeError if no weight could be converted."""
        source = onnx.load_model_from_string(graph)
        before = _names(source, onnx.TensorProto.FLOAT)
        with quiet():
            model = convert_float_to_float16(source, keep_io_types=True)
        if not before & _names(model, onnx.TensorProto.FLOAT16):
            raise OptimizeError("the graph has no float32 weight that could be float16")
        prune_imports(model)
        strip(model)
        return to_bytes(model)


def _names(model: onnx.ModelProto, data_type: int) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer if tensor.data_type == data_type}
