"""Property 12: quantization makes the file smaller, to at most 0.27 of it with int8."""

from __future__ import annotations

import pytest

from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import optimized

LIMITS = {"fp32": 1.01, "fp16": 0.51, "int8": 0.27}
EXCEPTIONS = {
    # Up to a quarter of the layers stay in float32, here the largest of a ResNet of three stages.
    (Target.cpu, TEXT, "int8-mixed"): 0.35,
    (Target.cpu, IMAGE, "int8-mixed"): 0.65,
    # The tables of embeddings stay in float32: here, as in no real BERT, most of the weights.
    (Target.tensorrt, TEXT, "int8-static"): 0.81,
}
"""What promises no quarter, and how small it becomes of these small models."""


@pytest.mark.parametrize("task", [TEXT, IMAGE])
@pytest.mark.parametrize("target", [Target.cpu, Target.cuda, Target.tensorrt])
def test_variants_are_as_small_as_their_precision_promises(target, task):
    made = optimized(target, task)
    sizes = {name: len(one.after) / len(one.before) for name, one in made.items()}
    for name, one in made.items():
        limit = EXCEPTIONS.get((target, task, name), LIMITS[one.recipe.precision])
        assert sizes[name] <= limit, sizes


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_an_int8_variant_for_cpus_makes_no_exception(task):
    promising = [
        name
        for name, one in optimized(Target.cpu, task).items()
        if one.recipe.precision == "int8" and (Target.cpu, task, name) not in EXCEPTIONS
    ]
    assert promising
