"""Property 12: quantization makes the file smaller, to about a quarter with int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import optimized

LIMITS = {"fp32": 1.01, "fp16": 0.51, "int8": 0.27}


def kept(graph: bytes) -> float:
    """Share of the weights' elements that are float32."""
    sizes = {TensorProto.FLOAT: 0, TensorProto.INT8: 0}
    for tensor in onnx.load_model_from_string(graph).graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    return sizes[TensorProto.FLOAT] / sum(sizes.values())


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_cpu_variants_are_as_small_as_their_precision_promises(task):
    made = optimized(Target.cpu, task)
    sizes = {name: len(one.after) / len(one.before) for name, one in made.items()}
    for name, one in made.items():
        limit = LIMITS[one.recipe.precision]
        if "mixed" in name:  # what it keeps in float32 is as large as before
            limit += (1 - limit) * kept(one.after)
        assert sizes[name] <= limit, sizes
    assert any(one.recipe.precision == "int8" for one in made.values())


def test_image_variant_for_tensorrt_is_a_quarter_as_large():
    made = optimized(Target.tensorrt, IMAGE)["int8-static"]
    assert len(made.after) <= LIMITS["int8"] * len(made.before)
