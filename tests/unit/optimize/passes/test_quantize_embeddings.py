from __future__ import annotations

import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.quantize_embeddings import QuantizeEmbeddings
from tests.unit.optimize.passes.graphs import answers, difference, opsets, weights


def test_embeddings_become_int8_and_answers_stay(outliers, text_graph, text_material):
    quantized = QuantizeEmbeddings().run(text_graph, text_material)
    batch = outliers.preprocessor.collate(outliers.rows)
    assert difference(text_graph, quantized, batch) < 0.05 * abs(answers(text_graph, batch)).max()
    assert opsets(quantized) == opsets(text_graph)
    shapes = [array.shape for array in weights(quantized, onnx.TensorProto.INT8).values()]
    assert (11, 16) in shapes


def test_whole_table_is_dequantized_when_made_for_tensorrt(outliers, text_graph, text_material):
    quantized = QuantizeEmbeddings(whole=True).run(text_graph, text_material)
    rows = QuantizeEmbeddings().run(text_graph, text_material)
    batch = outliers.preprocessor.collate(outliers.rows)
    assert abs(answers(quantized, batch) - answers(rows, batch)).max() < 1e-5
    nodes = onnx.load_model_from_string(quantized).graph.node
    looked_up = {node.input[0] for node in nodes if node.op_type == "Gather"}
    dequantized = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    assert dequantized
    assert dequantized <= looked_up
    assert "Cast" not in {node.op_type for node in nodes if set(node.input) & dequantized}


def test_smaller_tables_stay_when_they_are_not_worth_an_error(text_graph, text_material):
    # The larger table here is that of the 24 positions, not that of the 11 words.
    only_largest = QuantizeEmbeddings(smallest=1.0).run(text_graph, text_material)
    assert len(weights(only_largest, onnx.TensorProto.INT8)) == 1


def test_embeddings_are_refused_when_there_are_none(image_graph, image_material):
    with pytest.raises(OptimizeError, match="no table of embeddings"):
        QuantizeEmbeddings().run(image_graph, image_material)
