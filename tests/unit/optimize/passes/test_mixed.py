from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.mixed import Mixed
from optimize.passes.quantize_rows import QuantizeRows
from optimize.passes.quantize_static import QuantizeStatic, Scheme
from optimize.passes.sensitivity import distortions, most_sensitive
from tests.unit.optimize.passes.conftest import material_of
from tests.unit.optimize.passes.graphs import answers, nodes


def damaged(graph: bytes, name: str) -> bytes:
    """One weight of `name`'s node so large that its column's others round to nothing."""
    model = onnx.load_model_from_string(graph)
    node = next(node for node in model.graph.node if node.name == name)
    tensor = next(entry for entry in model.graph.initializer if entry.name == node.input[1])
    weight = onnx.numpy_helper.to_array(tensor).copy()
    weight[0] = 100 * np.abs(weight).max()
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    return model.SerializeToString()


def test_mixed_keeps_the_layer_that_quantization_harms(text_graph, text_material):
    victim = QuantizeRows().candidates(text_graph)[3]
    graph = damaged(text_graph, victim)
    noted: dict[str, Any] = {}
    material = dataclasses.replace(text_material, note=noted.__setitem__)
    mixed = onnx.load_model_from_string(
        Mixed(quantizer=QuantizeRows(), share=0.5).run(graph, material)
    ).graph
    assert victim in {node.name for node in mixed.node if node.op_type == "MatMul"}
    weight = next(node.input[1] for node in mixed.node if node.name == victim)
    assert noted == {"float32": {"of": 12, "layers": [{"node": victim, "weight": weight}]}}


def test_mixed_is_nearer_to_the_original_than_all_int8(outliers, text_graph, text_material):
    graph = damaged(text_graph, QuantizeRows().candidates(text_graph)[3])
    batch = outliers.preprocessor.collate(outliers.rows)
    expected = answers(graph, batch)
    whole = answers(QuantizeRows().run(graph, text_material), batch)
    mixed = answers(Mixed(quantizer=QuantizeRows()).run(graph, text_material), batch)
    assert np.square(mixed - expected).mean() < np.square(whole - expected).mean()


def test_mixed_calibrates_once_when_static(image_case, image_graph):
    material, reads = material_of(image_case), []
    noted: dict[str, Any] = {}

    def counted():
        reads.append(1)
        return iter([image_case.preprocessor.collate(image_case.rows)])

    calibration = dataclasses.replace(material.calibration, batches=counted)
    quantizer = QuantizeStatic(scheme=Scheme.u8s8)
    mixed = Mixed(quantizer=quantizer).run(
        image_graph,
        dataclasses.replace(material, calibration=calibration, note=noted.__setitem__),
    )
    whole = quantizer.run(image_graph, material)
    assert sum(reads) == 1
    named = {layer["node"]: layer["weight"] for layer in noted["float32"]["layers"]}
    assert set(named) < set(quantizer.candidates(image_graph))
    assert any(weight is not None for weight in named.values())
    assert noted["float32"]["of"] == len(quantizer.candidates(image_graph))
    assert nodes(mixed)["DequantizeLinear"] < nodes(whole)["DequantizeLinear"]


def test_mixed_is_refused_without_provenance(text_case, text_graph):
    with pytest.raises(OptimizeError, match="tuning: the samples come from 'noise'"):
        Mixed(quantizer=QuantizeRows()).run(text_graph, material_of(text_case, split="noise"))


def test_search_looks_at_no_more_samples_than_it_may(text_case, text_graph, text_material):
    quantizer = Mixed(quantizer=QuantizeRows(), samples=1)
    one = {name: array[:1] for name, array in next(text_material.tuning.batches()).items()}
    only = dataclasses.replace(text_material.tuning, batches=lambda: iter([one]))
    assert quantizer.run(text_graph, text_material) == quantizer.run(
        text_graph, dataclasses.replace(text_material, tuning=only)
    )


def test_fewest_nodes_make_the_share():
    found = {"a": 1.0, "b": 6.0, "c": 2.0, "d": 1.0}
    assert most_sensitive(found, share=0.5, limit=1) == ("b",)
    assert most_sensitive(found, share=0.8, limit=1) == ("b", "c")
    assert most_sensitive(found, share=0.9, limit=1) == ("a", "b", "c")
    assert most_sensitive(found, share=1, limit=0.5) == ("b", "c")
    assert most_sensitive(found, share=0, limit=1) == ()


def test_distortion_that_is_not_finite_is_refused(text_graph, text_material):
    def broken(exclude) -> bytes:
        model = onnx.load_model_from_string(text_graph)
        bias = next(t for t in model.graph.initializer if t.name == "classifier.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.inf, np.float32), bias.name))
        return model.SerializeToString()

    with pytest.raises(OptimizeError, match="not finite once first"):
        distortions(
            text_graph,
            broken,
            candidates=("first",),
            batches=list(text_material.tuning.batches()),
            threads=1,
        )


@pytest.mark.parametrize("settings", [{"limit": 0.01}, {"share": 0.0}])
def test_mixed_is_refused_when_nothing_would_stay_in_float32(settings, text_graph, text_material):
    """It would be the quantizer's own graph under another name."""
    with pytest.raises(OptimizeError, match=r"none of the \d+ layers stays .* quantize_rows alone"):
        Mixed(quantizer=QuantizeRows(), **settings).run(text_graph, text_material)
