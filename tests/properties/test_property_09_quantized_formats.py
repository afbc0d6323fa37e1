"""Property 9: a quantized model holds the number formats that it claims."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from bundle.engine.onnx import OnnxEngine
from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import CASES, batch, optimized

MADE = [case for case in CASES if case[0] not in (Target.auto, Target.none)]
INTEGER = {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QuantizeLinear"}


def weights(graph: bytes) -> list[TensorProto]:
    """Those too large to be scales or biases."""
    graph = onnx.load_model_from_string(graph).graph
    return [tensor for tensor in graph.initializer if len(tensor.dims) > 1]


def share(tensors: list[TensorProto], kind: int) -> float:
    """Of all elements, those of that type."""
    sizes = [(tensor.data_type, int(np.prod(tensor.dims))) for tensor in tensors]
    return sum(size for found, size in sizes if found == kind) / sum(size for _, size in sizes)


@pytest.mark.parametrize(("target", "task"), MADE)
def test_weights_are_of_the_type_that_the_variant_claims(target, task):
    whole = 0
    for name, made in sorted(optimized(target, task).items(), key=lambda item: "mixed" in item[0]):
        found = weights(made.after)
        kinds = Counter(tensor.data_type for tensor in found)
        nodes = Counter(node.op_type for node in onnx.load_model_from_string(made.after).graph.node)
        if made.recipe.precision == "fp32":
            assert set(kinds) <= {TensorProto.FLOAT, TensorProto.INT64}, name
            assert not INTEGER & set(nodes), name
        elif made.recipe.precision == "fp16":
            assert share(found, TensorProto.FLOAT16) > 0.99, name
        else:
            assert made.recipe.precision == "int8", name
            assert INTEGER & set(nodes), name
            if "mixed" in name:  # keeps a quarter of its nodes, some without weights, in float32
                assert 2 / 3 * whole <= kinds[TensorProto.INT8] < whole, name
                continue
            whole = kinds[TensorProto.INT8]
            assert share(found, TensorProto.INT8) > 0.95, name


@pytest.mark.parametrize(("target", "task"), MADE)
def test_every_variant_takes_and_gives_the_same_tensors(target, task):
    for name, made in optimized(target, task).items():
        before = onnx.load_model_from_string(made.before).graph
        after = onnx.load_model_from_string(made.after).graph
        for ours, theirs in ((after.input, before.input), (after.output, before.output)):
            assert [value.name for value in ours] == [value.name for value in theirs], name
            assert [value.type.tensor_type.elem_type for value in ours] == [
                value.type.tensor_type.elem_type for value in theirs
            ], name


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_cpu_variant_runs_and_answers_nearly_as_the_original(task):
    tensors = batch(task)
    for name, made in optimized(Target.cpu, task).items():
        expected = OnnxEngine(made.before, provider="cpu", threads=1).predict_batch(tensors)
        found = OnnxEngine(made.after, provider="cpu", threads=1).predict_batch(tensors)
        size = np.abs(expected["logits"]).max()
        assert np.abs(found["logits"] - expected["logits"]).max() < 0.1 * size, name


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_tensorrt_is_given_symmetric_int8_and_standard_operators_alone(task):
    graph = onnx.load_model_from_string(optimized(Target.tensorrt, task)["int8-static"].after).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    points = [
        tensors[node.input[2]]
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert points
    assert {point.data_type for point in points} == {TensorProto.INT8}
    assert not any(onnx.numpy_helper.to_array(point).any() for point in points)
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
