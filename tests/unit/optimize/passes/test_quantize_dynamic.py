from __future__ import annotations

import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.fuse import Fuse
from optimize.passes.quantize_dynamic import QuantizeDynamic
from tests.unit.optimize.passes.graphs import answers, difference, nodes, weights


@pytest.mark.parametrize("for_quantization", [False, True])
def test_dynamic_answers_nearly_as_before(for_quantization, outliers, text_graph, text_material):
    fused = Fuse(for_quantization=for_quantization).run(text_graph, text_material)
    quantized = QuantizeDynamic().run(fused, text_material)
    batch = outliers.preprocessor.collate(outliers.rows)
    assert difference(fused, quantized, batch) < 0.05 * abs(answers(fused, batch)).max()
    assert weights(quantized, onnx.TensorProto.INT8)


def test_excluded_node_stays_in_float_when_quantized_dynamically(text_graph, text_material):
    fused = Fuse(for_quantization=True).run(text_graph, text_material)
    first = next(
        node.name
        for node in onnx.load_model_from_string(fused).graph.node
        if node.op_type == "MatMul"
    )
    quantized = QuantizeDynamic(exclude=(first,)).run(fused, text_material)
    assert nodes(quantized)["MatMul"] == 1


def test_dynamic_is_refused_when_nothing_can_be_quantized(image_graph, image_material):
    with pytest.raises(OptimizeError, match="no matrix product"):
        QuantizeDynamic(operators=("LSTM",)).run(image_graph, image_material)
