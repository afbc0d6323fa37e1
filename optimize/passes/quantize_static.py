"""Static int8: pairs of QuantizeLinear and DequantizeLinear, with ranges learned from real samples.

Nothing is scaled by what happens to be in a batch, so an answer does not depend on its company.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

from optimize.errors import OptimizeError
from optimize.passes.fold import fold
from optimize.passes.quiet import quiet
from optimize.passes.ranges import Ranges
from optimize.passes.samples import check_provenance
from optimize.passes.strip import prune_imports, strip, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from optimize.passes.base import Calibration, Material
    from optimize.reference import Tensors

OPERATORS = ("Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Relu")
_COMPUTING = ("Add", "Conv", "Gemm", "MatMul")
_IDENTITY = ("name", "version")


class Scheme(StrEnum):
    """Types of activations and weights; which one is fast depends on the target."""

    u8s8 = "u8s8"
    """uint8 activations with a zero point: what x86 CPUs multiply fastest."""
    s8s8 = "s8s8"
    """int8 activations around zero: all that TensorRT takes, and two to three times slower on
    x86 CPUs."""


_METHODS = {
    Ranges.minmax: CalibrationMethod.MinMax,
    Ranges.percentile: CalibrationMethod.Percentile,
    Ranges.entropy: CalibrationMethod.Entropy,
}


@dataclass(frozen=True, kw_only=True)
class QuantizeStatic:
    """int8 weights, one scale a channel; activations with one fixed scale a tensor."""

    learns: ClassVar[bool] = True
    name: str = "quantize_static"
    version: int = 2
    scheme: Scheme
    ranges: Ranges = Ranges.minmax
    percentile: float = 99.999
    """For `Ranges.percentile`."""
    operators: tuple[str, ...] = OPERATORS
    """Types of the operators whose inputs are quantized."""
    reduce_range: bool = False
    """Seven bits a weight: with eight, CPUs without VNNI overflow their 16-bit sums."""

    def parameters(self) -> Mapping[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in _IDENTITY}

    def run(self, graph: bytes, material: Material) -> bytes:
        """Raises OptimizeError for calibration samples of unknown origin."""
        return self.prepare(graph, material)(())

    def candidates(self, graph: bytes) -> tuple[str, ...]:
        """Names of the nodes that compute; the others follow what stands before them."""
        nodes = onnx.load_model_from_string(fold(graph)).graph.node
        wanted = set(self.operators) & set(_COMPUTING)
        return tuple(node.name for node in nodes if node.op_type in wanted)

    def prepare(self, graph: bytes, material: Material) -> Callable[[Collection[str]], bytes]:
        """Learn the ranges; then from the names of the nodes left out to the quantized graph."""
        check_provenance(material.calibration)
        folded = fold(graph)
        with quiet():
            ranges = self._ranges(folded, material.calibration)
        return lambda exclude: self._quantize(folded, ranges, exclude)

    def _quantize(self, graph: bytes, ranges: Any, exclude: Collection[str]) -> bytes:
        symmetric = self.scheme is Scheme.s8s8
        with quiet():
            quantizer = QDQQuantizer(
                save_and_reload_model_with_shape_infer(onnx.load_model_from_string(graph)),
                per_channel=True,
                reduce_range=self.reduce_range,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                tensors_range=ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=list(exclude),
                op_types_to_quantize=list(self.operators),
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "MatMulConstBOnly": True,
                    "QuantizeBias": not symmetric,  # TensorRT takes no bias of integers
                },
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()  # which it leaves to the runtimes, and ONNX demands
        model = quantizer.model.model
        if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            raise OptimizeError(
                f"the graph has no operator of {', '.join(self.operators)} to quantize"
            )
        prune_imports(model)
        strip(model)
        return to_bytes(model)

    def _ranges(self, graph: bytes, calibration: Calibration) -> Any:
        """The range of every activation, over all calibration samples."""
        options = {"symmetric": self.scheme is Scheme.s8s8, "percentile": self.percentile}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            path.write_bytes(graph)
            calibrator = create_calibrator(
                path,
                list(self.operators),
                augmented_model_path=str(path.with_name("augmented.onnx")),
                calibrate_method=_METHODS[self.ranges],
                extra_options=options,
            )
            # Batch by batch: what is collected in one go is kept in memory in one go.
            for batch in calibration.batches():
                calibrator.collect_data(_Reader(batch))
            return calibrator.compute_data()


class _Reader:
    """One batch, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: Tensors) -> None:
        self._batches = iter([dict(batch)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._batches
