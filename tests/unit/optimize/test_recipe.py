from __future__ import annotations

import json

import pytest

from optimize.errors import OptimizeError
from optimize.recipe import IMAGE, TEXT, recipes_for
from optimize.schema import CalibrationConfig, Ranges, Target

MADE = (Target.cpu, Target.cuda, Target.tensorrt)


@pytest.mark.parametrize("task", [TEXT, IMAGE])
@pytest.mark.parametrize("target", MADE)
def test_recipes_have_names_of_their_own_and_a_known_precision(target, task):
    recipes = recipes_for(target=target, task=task)
    names = [recipe.name for recipe in recipes]
    assert names
    assert len(set(names)) == len(names)
    assert "fp32" not in names  # the plain export's
    assert {recipe.precision for recipe in recipes} <= {"fp32", "fp16", "int8"}


@pytest.mark.parametrize("task", [TEXT, IMAGE])
@pytest.mark.parametrize("target", MADE)
def test_what_a_pass_depends_on_is_json(target, task):
    for recipe in recipes_for(target=target, task=task):
        keys = [(step.name, step.version, step.parameters()) for step in recipe.passes]
        assert len(json.loads(json.dumps(keys))) == len(recipe.passes)


def test_recipes_of_one_target_differ_in_their_passes():
    for target in MADE:
        for task in (TEXT, IMAGE):
            recipes = recipes_for(target=target, task=task)
            keys = {
                json.dumps(
                    [
                        recipe.format,
                        *((step.name, step.version, step.parameters()) for step in recipe.passes),
                    ]
                )
                for recipe in recipes
            }
            assert len(keys) == len(recipes)


@pytest.mark.parametrize(
    ("target", "task"),
    [(Target.cpu, IMAGE), *zip([Target.tensorrt] * 2, [TEXT, IMAGE], strict=True)],
)
def test_every_static_pass_calibrates_as_was_asked(target, task):
    asked = CalibrationConfig(ranges=Ranges.percentile, percentile=99.0)
    found = [
        getattr(step, "quantizer", step).parameters()
        for recipe in recipes_for(target, task, calibration=asked)
        for step in recipe.passes
        if "static" in getattr(step, "quantizer", step).name
    ]
    assert len(found) == 2
    assert {(each["ranges"], each["percentile"]) for each in found} == {("percentile", 99.0)}


@pytest.mark.parametrize("task", [TEXT, IMAGE])
def test_every_plan_has_the_graph_that_it_is_built_of_beside_it(task):
    recipes = recipes_for(target=Target.tensorrt, task=task)
    plans = {each.precision: each for each in recipes if each.format == "tensorrt"}
    graphs = {each.precision: each for each in recipes if each.format == "onnx"}
    assert set(plans) == {"fp32", "fp16", "int8"}
    assert set(graphs) == {"fp16", "int8"}  # fp32 is no recipe: it is always there
    for precision, graph in graphs.items():
        assert (plans[precision].lane, plans[precision].passes) == (graph.lane, graph.passes)


def test_no_recipe_is_tried_when_the_target_is_none():
    assert recipes_for(target=Target.none, task=TEXT) == ()


def test_task_without_recipes_is_refused():
    with pytest.raises(OptimizeError, match="task='tensor'"):
        recipes_for(target=Target.cpu, task="tensor")
