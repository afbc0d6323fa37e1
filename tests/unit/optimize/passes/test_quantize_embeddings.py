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


def test_smaller_tables_stay_when_they_are_not_worth_an_error(text_graph, text_material):
    # The larger table here is that of the 24 positions, not that of the 11 words.
    only_largest = QuantizeEmbeddings(smallest=1.0).run(text_graph, text_material)
    assert len(weights(only_largest, onnx.TensorProto.INT8)) == 1


def test_embeddings_are_refused_when_there_are_none(image_graph, image_material):
    with pytest.raises(OptimizeError, match="no table of embeddings"):
        QuantizeEmbeddings().run(image_graph, image_material)
