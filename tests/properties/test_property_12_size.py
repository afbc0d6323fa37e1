"""Property 12: quantization makes the file smaller, to about a quarter with int8."""

from __future__ import annotations

import pytest

from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import optimized

LIMITS = {"fp32": 1.01, "fp16": 0.51, "int8": 0.27}
MIXED = 0.5  # up to a quarter of the layers stay in float32


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_cpu_variants_are_as_small_as_their_precision_promises(task):
    sizes = {
        name: len(made.after) / len(made.before)
        for name, made in optimized(Target.cpu, task).items()
    }
    for name, made in optimized(Target.cpu, task).items():
        limit = MIXED if "mixed" in name else LIMITS[made.recipe.precision]
        assert sizes[name] <= limit, sizes
    assert any(made.recipe.precision == "int8" for made in optimized(Target.cpu, task).values())


def test_image_variant_for_tensorrt_is_a_quarter_as_large():
    made = optimized(Target.tensorrt, IMAGE)["int8-static"]
    assert len(made.after) <= LIMITS["int8"] * len(made.before)
