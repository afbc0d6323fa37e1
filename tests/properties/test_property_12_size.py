"""Property 12: quantization makes the file smaller, to at most 0.27 of it with int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from optimize.passes.mixed import Mixed
from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import optimized

LIMITS = {"fp32": 1.01, "fp16": 0.51, "int8": 0.27}
MIXED = {TEXT: 0.35, IMAGE: 0.65}
"""Most that int8-mixed may have, whatever it keeps: up to a quarter of the layers in float32, here
the largest of a ResNet of three stages.
"""


def mixed(recipe) -> Mixed | None:
    """The pass that keeps some layers as they are; None in any other recipe."""
    return next((step for step in recipe.passes if isinstance(step, Mixed)), None)


def floats(graph: bytes) -> list[int]:
    """Bytes of each float32 tensor that is no scale and no bias."""
    tensors = onnx.load_model_from_string(graph).graph.initializer
    return [
        4 * int(np.prod(tensor.dims))
        for tensor in tensors
        if len(tensor.dims) > 1 and tensor.data_type == onnx.TensorProto.FLOAT
    ]


@pytest.mark.parametrize("task", [TEXT, IMAGE])
@pytest.mark.parametrize("target", [Target.cpu, Target.cuda, Target.tensorrt])
def test_variants_are_as_small_as_their_precision_promises(target, task):
    made = optimized(target, task)
    sizes = {name: len(one.after) / len(one.before) for name, one in made.items()}
    for name, one in made.items():
        if mixed(one.recipe) is None:
            assert sizes[name] <= LIMITS[one.recipe.precision], sizes


@pytest.mark.parametrize(("task", "whole"), [(TEXT, "int8-rows"), (IMAGE, "int8-static")])
def test_mixed_is_larger_by_the_layers_that_it_keeps_and_by_no_more(task, whole):
    made = optimized(Target.cpu, task)
    one, other = made["int8-mixed"], made[whole]
    step = mixed(one.recipe)
    layers = len(step.quantizer.candidates(one.before))
    kept, before = floats(one.after), len(one.before)

    assert 1 <= len(kept) - len(floats(other.after)) <= step.limit * layers
    assert len(one.after) <= LIMITS["int8"] * before + sum(kept)
    assert len(one.after) <= MIXED[task] * before


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_cpus_have_int8_that_makes_no_exception(task):
    recipes = [one.recipe for one in optimized(Target.cpu, task).values()]
    assert [each for each in recipes if each.precision == "int8" and mixed(each) is None]
