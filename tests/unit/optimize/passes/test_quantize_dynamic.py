from __future__ import annotations

import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.fuse import Fuse
from optimize.passes.quantize_dynamic import QuantizeDynamic
from tests.unit.optimize.passes.graphs import answers, difference, weights


@pytest.mark.parametrize("for_quantization", [False, True])
def test_dynamic_answers_nearly_as_before(for_quantization, outliers, text_graph, text_material):
    fused = Fuse(for_quantization=for_quantization).run(text_graph, text_material)
    quantized = QuantizeDynamic().run(fused, text_material)
    batch = outliers.preprocessor.collate(outliers.rows)
    assert difference(fused, quantized, batch) < 0.05 * abs(answers(fused, batch)).max()
    assert weights(quantized, onnx.TensorProto.INT8)


def test_dynamic_is_refused_when_no_weight_can_be_quantized(text_material):
    product = onnx.helper.make_node("MatMul", ["x", "x"], ["logits"])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2])
        for name in ("x", "logits")
    ]
    graph = onnx.helper.make_graph([product], "square", ends[:1], ends[1:])
    square = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    with pytest.raises(OptimizeError, match="no matrix product"):
        QuantizeDynamic().run(square.SerializeToString(), text_material)
