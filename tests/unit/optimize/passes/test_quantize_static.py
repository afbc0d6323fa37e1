from __future__ import annotations

import numpy as np
import onnx
import pytest

from optimize.errors import OptimizeError
from optimize.passes.base import Calibration, Material, Tuning
from optimize.passes.quantize_static import QuantizeStatic, Scheme
from optimize.passes.ranges import Ranges
from tests.tiny_bundle import serialize
from tests.unit.optimize.passes.conftest import material_of
from tests.unit.optimize.passes.graphs import (
    answers,
    company_changes,
    difference,
    nodes,
    opsets,
    weights,
)

TYPES = {Scheme.u8s8: onnx.TensorProto.UINT8, Scheme.s8s8: onnx.TensorProto.INT8}


def zero_points(graph: bytes) -> dict[int, set[int]]:
    """Type → zero points of all activations."""
    model = onnx.load_model_from_string(graph).graph
    tensors = {tensor.name: tensor for tensor in model.initializer}
    found: dict[int, set[int]] = {}
    for node in model.node:
        if node.op_type == "QuantizeLinear":
            tensor = tensors[node.input[2]]
            values = onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
            found.setdefault(tensor.data_type, set()).update(values)
    return found


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("ranges", list(Ranges))
def test_static_answers_nearly_as_before(scheme, ranges, image_case, image_graph, image_material):
    quantized = QuantizeStatic(scheme=scheme, ranges=ranges).run(image_graph, image_material)
    batch = image_case.preprocessor.collate(image_case.rows)
    # Signed activations have half the steps that a ReLU's outputs could use.
    share = 0.4 if scheme is Scheme.s8s8 else 0.2
    largest = abs(answers(image_graph, batch)).max()
    assert difference(image_graph, quantized, batch) < share * largest
    assert opsets(quantized) == opsets(image_graph)
    assert list(zero_points(quantized)) == [TYPES[scheme]]


def scales(graph: bytes) -> list[float]:
    """Of all activations, in the graph's order."""
    model = onnx.load_model_from_string(graph).graph
    tensors = {tensor.name: tensor for tensor in model.initializer}
    return [
        float(onnx.numpy_helper.to_array(tensors[node.input[1]]))
        for node in model.node
        if node.op_type == "QuantizeLinear"
    ]


def test_each_kind_of_ranges_cuts_what_it_says(image_graph, image_material, capfd):
    def found(**options):
        quantizer = QuantizeStatic(scheme=Scheme.u8s8, **options)
        return scales(quantizer.run(image_graph, image_material))

    whole = found()
    few, most = (
        found(ranges=Ranges.percentile, percentile=percentile) for percentile in (90, 99.9)
    )
    assert all(a <= b <= c for a, b, c in zip(few, most, whole, strict=True))
    assert sum(few) < 0.8 * sum(whole)
    assert found(ranges=Ranges.entropy) not in (whole, few, most)
    assert capfd.readouterr().out == ""  # an export's last line is the bundle's folder


@pytest.mark.parametrize(
    ("scheme", "low", "high", "zero_point"),
    [
        (Scheme.u8s8, -0.09, 0.79, 26),  # 10 % are left out at each end
        (Scheme.s8s8, -0.68, 0.68, 0),  # the 20 % that are furthest from 0
    ],
)
def test_percentile_is_the_share_of_values_that_the_range_holds(scheme, low, high, zero_point):
    """Of values that lie evenly between -0.2 and 0.9: a percent of them is 0.011 wide."""
    values = np.linspace(-0.2, 0.9, 1001, dtype=np.float32)[:, np.newaxis]
    graph = serialize(
        [onnx.helper.make_node("MatMul", ["x", "one"], ["y"])],
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 1])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 1])],
        {"one": np.ones((1, 1), np.float32)},
    )
    samples = {"split": "train", "fingerprint": "5eed", "samples": 1001}
    samples["batches"] = lambda: iter([{"x": values}])
    material = Material(calibration=Calibration(**samples), tuning=Tuning(**samples))

    quantized = QuantizeStatic(scheme=scheme, ranges=Ranges.percentile, percentile=80).run(
        graph, material
    )

    steps = 255 if scheme is Scheme.u8s8 else 127
    width = high - low if scheme is Scheme.u8s8 else high
    assert scales(quantized)[0] == pytest.approx(width / steps, rel=0.02)
    (points,) = zero_points(quantized).values()
    assert min(abs(zero_point - point) for point in points) <= 1


def test_activations_are_symmetric_when_made_for_tensorrt(image_graph, image_material):
    quantized = QuantizeStatic(scheme=Scheme.s8s8).run(image_graph, image_material)
    assert zero_points(quantized) == {onnx.TensorProto.INT8: {0}}
    assert not weights(quantized, onnx.TensorProto.INT32)  # a bias stays in float


def test_answer_is_the_same_in_company_when_static(image_case, image_graph, image_material):
    quantized = QuantizeStatic(scheme=Scheme.u8s8).run(image_graph, image_material)
    assert company_changes(quantized, image_case) < 1e-5


def test_range_is_reduced_when_asked(image_graph, image_material):
    quantized = QuantizeStatic(scheme=Scheme.u8s8, reduce_range=True).run(
        image_graph, image_material
    )
    found = [
        array for array in weights(quantized, onnx.TensorProto.INT8).values() if array.ndim > 1
    ]
    assert found
    assert max(abs(array.astype(int)).max() for array in found) <= 64


def test_static_quantizes_matrix_products_of_texts(outliers, text_graph, text_material):
    quantized = QuantizeStatic(scheme=Scheme.s8s8, operators=("MatMul",)).run(
        text_graph, text_material
    )
    batch = outliers.preprocessor.collate(outliers.rows)
    assert difference(text_graph, quantized, batch) < 0.3 * abs(answers(text_graph, batch)).max()
    onnx.checker.check_model(onnx.load_model_from_string(quantized))  # in topological order


@pytest.mark.parametrize(
    ("split", "fingerprint", "reason"),
    [
        ("noise", "5eed", "'noise'"),
        ("", "5eed", "split"),
        ("test", "5eed", "'test'"),
        ("val", "", "fingerprint"),
    ],
)
def test_calibration_is_refused_without_provenance(split, fingerprint, reason, image_case):
    material = material_of(image_case, split=split, fingerprint=fingerprint)
    with pytest.raises(OptimizeError, match=reason) as caught:
        QuantizeStatic(scheme=Scheme.u8s8).run(b"", material)
    assert caught.value.field == "calibration"


def test_static_is_refused_when_nothing_can_be_quantized(text_graph, text_material):
    with pytest.raises(OptimizeError, match="no operator of Conv"):
        QuantizeStatic(scheme=Scheme.u8s8, operators=("Conv",)).run(text_graph, text_material)


def test_excluded_node_stays_in_float_when_static(image_graph, image_material):
    quantizer = QuantizeStatic(scheme=Scheme.u8s8)
    kinds = {n.name: n.op_type for n in onnx.load_model_from_string(image_graph).graph.node}
    names = [name for name in quantizer.candidates(image_graph) if kinds[name] == "Conv"]
    quantized = quantizer.prepare(image_graph, image_material)(names[:1])
    whole = quantizer.run(image_graph, image_material)
    assert len(weights(quantized, onnx.TensorProto.INT8)) < len(
        weights(whole, onnx.TensorProto.INT8)
    )
    assert nodes(quantized)["Conv"] == nodes(whole)["Conv"]
