from __future__ import annotations

import numpy as np
import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.export import Lane
from optimize.passes.quantize_dynamic import QuantizeDynamic
from optimize.passes.quantize_rows import QuantizeRows
from optimize.probes import probe_batches
from tests.unit.optimize.passes.conftest import written
from tests.unit.optimize.passes.graphs import answers, company_changes, difference, nodes, weights


@pytest.mark.parametrize(
    ("lane", "opset"), [(Lane.torchscript, 17), (Lane.torchscript, 18), (Lane.dynamo, 21)]
)
def test_rows_answer_nearly_as_before(lane, opset, outliers, text_material):
    graph = written(outliers, lane=lane, opset=opset)
    quantized = QuantizeRows().run(graph, text_material)
    for batch in probe_batches(outliers.rows, outliers.preprocessor, max_length=24):
        size = np.abs(answers(graph, batch)).max()
        assert difference(graph, quantized, batch) < 0.05 * size


def test_answer_is_the_same_in_company_when_rows_are_quantized(outliers, text_graph, text_material):
    rows = QuantizeRows().run(text_graph, text_material)
    dynamic = QuantizeDynamic().run(text_graph, text_material)
    assert company_changes(rows, outliers) < 1e-5
    assert company_changes(dynamic, outliers) > 1e-4


def test_weights_have_seven_bits_so_that_no_cpu_overflows(text_graph, text_material):
    found = weights(QuantizeRows().run(text_graph, text_material), onnx.TensorProto.INT8)
    matrices = [array for array in found.values() if array.ndim == 2]
    assert len(matrices) == 2 * 6
    assert max(np.abs(array).max() for array in matrices) == 63
    # The sum of two products of a uint8 and such a weight fits into 16 bits.
    assert 2 * 255 * 63 < 2**15


def test_every_product_is_an_integer_one(text_graph, text_material):
    found = nodes(QuantizeRows().run(text_graph, text_material))
    assert found["MatMulIntegerToFloat"] == 2 * 6
    assert found["MatMul"] == 2 * 2  # attention's own, which have no weights
    # Query, key and value are projections of the same rows, which are quantized once.
    assert found["QuantizeLinear"] == 2 * 4


def test_excluded_node_stays_in_float(text_graph, text_material):
    first = QuantizeRows().candidates(text_graph)[0]
    found = nodes(QuantizeRows().prepare(text_graph, text_material)((first,)))
    assert found["MatMulIntegerToFloat"] == 2 * 6 - 1


def test_row_of_zeros_is_answered_with_zeros():
    weight = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["logits"], name="product")],
        "product",
        [info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [weight],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    rows = QuantizeRows().run(model.SerializeToString(), None)
    x = np.array([[0, 0, 0, 0], [1, 2, -3, 4]], np.float32)
    np.testing.assert_allclose(answers(rows, {"x": x}), [[0] * 3, [4] * 3], atol=0.1)
    # One token's outlier costs another one nothing.
    x[0] = 1e6
    np.testing.assert_allclose(answers(rows, {"x": x})[1], [4] * 3, atol=0.1)


def test_rows_are_refused_when_there_is_no_product_of_weights(image_graph, image_material):
    with pytest.raises(OptimizeError, match="no matrix product"):
        QuantizeRows().run(image_graph, image_material)
