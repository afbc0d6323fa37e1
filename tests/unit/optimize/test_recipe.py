from __future__ import annotations

import json

import pytest

from optimize.errors import OptimizeError
from optimize.recipe import IMAGE, TEXT, recipes_for
from optimize.schema import Target

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
        assert json.loads(json.dumps(keys))


def test_recipes_of_one_target_differ_in_their_passes():
    for target in MADE:
        for task in (TEXT, IMAGE):
            recipes = recipes_for(target=target, task=task)
            keys = {
                json.dumps([(step.name, step.version, step.parameters()) for step in recipe.passes])
                for recipe in recipes
            }
            assert len(keys) == len(recipes)


def test_no_recipe_is_tried_when_the_target_is_none():
    assert recipes_for(target=Target.none, task=TEXT) == ()


def test_task_without_recipes_is_refused():
    with pytest.raises(OptimizeError, match="task='tensor'"):
        recipes_for(target=Target.cpu, task="tensor")
