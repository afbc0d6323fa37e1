from __future__ import annotations

import numpy as np
import pytest

from optimize.errors import OptimizeError
from optimize.passes.export import Lane
from optimize.passes.fuse import Fuse
from optimize.probes import probe_batches
from tests.unit.optimize.passes.conftest import written
from tests.unit.optimize.passes.graphs import MICROSOFT, difference, nodes, opsets


@pytest.mark.parametrize("residuals", [False, True])
@pytest.mark.parametrize("for_quantization", [False, True])
@pytest.mark.parametrize("opset", [17, 20])
def test_fused_graph_answers_as_before(opset, for_quantization, residuals, outliers, text_material):
    graph = written(outliers, lane=Lane.torchscript, opset=opset)
    fuse = Fuse(for_quantization=for_quantization, residuals=residuals)
    fused = fuse.run(graph, text_material)
    assert opsets(fused) == {"": opset, MICROSOFT: 1}
    for batch in probe_batches(outliers.rows, outliers.preprocessor, max_length=24):
        assert difference(graph, fused, batch) < 1e-5


def test_fusion_takes_every_layer(text_graph, text_material):
    found = nodes(Fuse(residuals=True).run(text_graph, text_material))
    assert found["Attention"] == 2
    assert found["BiasGelu"] == 2
    assert found["SkipLayerNormalization"] == 4
    assert found["MatMul"] == 2 * 3


def test_fusion_leaves_residuals_for_cpus(text_graph, text_material):
    found = nodes(Fuse().run(text_graph, text_material))
    assert found["Attention"] == 2
    assert found["BiasGelu"] == 2
    assert found["SkipLayerNormalization"] == 0
    assert found["LayerNormalization"] >= 4


def test_fusion_leaves_projections_and_embeddings_when_they_are_to_be_quantized(
    text_graph, text_material
):
    found = nodes(Fuse(for_quantization=True).run(text_graph, text_material))
    assert found["MultiHeadAttention"] == 2
    assert found["MatMul"] == 2 * 6
    assert "EmbedLayerNormalization" not in found


def test_fused_graph_heeds_a_mask_that_begins_with_padding(text_graph, text_material):
    batch = {
        "input_ids": np.array([[0, 0, 2, 5, 6, 3]]),
        "attention_mask": np.array([[0, 0, 1, 1, 1, 1]]),
    }
    for for_quantization in (False, True):
        fused = Fuse(for_quantization=for_quantization).run(text_graph, text_material)
        assert difference(text_graph, fused, batch) < 1e-5


def test_fusion_is_refused_when_the_other_exporter_wrote_the_graph(outliers, text_material):
    graph = written(outliers, lane=Lane.dynamo)
    with pytest.raises(OptimizeError, match="recognised 0 attention layers and left 2") as caught:
        Fuse().run(graph, text_material)
    assert "optimize.exporter=torchscript" in caught.value.remedy


def test_fusion_is_refused_when_the_model_is_no_transformer(image_graph, image_material):
    with pytest.raises(OptimizeError, match="no transformer"):
        Fuse().run(image_graph, image_material)
