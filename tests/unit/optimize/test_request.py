from __future__ import annotations

from dataclasses import replace

import pytest

from bundle.errors import RequestError
from optimize.folders import REPORT
from optimize.passes.export import Lane
from optimize.recipe import Recipe
from optimize.request import (
    cache_folder,
    check_length,
    chosen_recipes,
    free_output,
    given_output,
    registered_name,
)
from optimize.schema import (
    BenchmarkConfig,
    CacheConfig,
    ExportConfig,
    Exporter,
    OptimizeConfig,
    Target,
)
from optimize.target import ResolvedTarget
from tests.tiny_bundle import image_parts

TARGET = ResolvedTarget(requested=Target.cpu, actual=Target.cpu, reason="")
ONE = Recipe(name="one", precision="int8", lane=Lane.dynamo)
SUITABLE = (ONE, replace(ONE, name="two"), replace(ONE, name="three"))


def chosen(**settings):
    return chosen_recipes(SUITABLE, OptimizeConfig(**settings), target=TARGET)


def test_all_recipes_that_suit_are_tried():
    assert chosen() == list(SUITABLE)


def test_recipes_are_those_asked_for_in_their_own_order():
    assert [recipe.name for recipe in chosen(recipes=["three", "one"])] == ["one", "three"]
    assert chosen(recipes=[]) == []


def test_exporter_that_was_asked_for_writes_the_graph_of_every_recipe():
    assert {recipe.lane for recipe in chosen(exporter=Exporter.torchscript)} == {Lane.torchscript}


def test_recipe_is_refused_when_there_is_none_of_that_name():
    with pytest.raises(RequestError, match="no recipe 'four' for target=cpu") as caught:
        chosen(recipes=["one", "four"])
    assert caught.value.field == "optimize.recipes"
    assert caught.value.remedy == "choose among one, two, three"


def test_recipe_is_refused_when_it_is_named_twice():
    with pytest.raises(RequestError, match="names 'one' more than once") as caught:
        chosen(recipes=["one", "two", "one"])
    assert (caught.value.field, caught.value.remedy) == (
        "optimize.recipes",
        "name each recipe once",
    )


def test_recipes_are_refused_when_the_target_has_none():
    with pytest.raises(RequestError, match="target=cpu makes fp32 alone"):
        chosen_recipes((), OptimizeConfig(recipes=["one"]), target=TARGET)


def test_cache_is_in_no_folder_of_an_empty_name():
    with pytest.raises(RequestError, match=r"optimize\.cache\.folder is empty"):
        cache_folder(OptimizeConfig(cache=CacheConfig(folder="")))
    assert cache_folder(OptimizeConfig(cache=CacheConfig(folder=None))) is None


@pytest.mark.parametrize("place", ["/proc/x", "{}/file", "{}/file/below", "{}/" + 300 * "x"])
def test_folders_are_refused_by_name_when_nothing_can_be_written_in_them(place, tmp_path):
    (tmp_path / "file").touch()
    folder = place.format(tmp_path)
    with pytest.raises(RequestError, match=rf"optimize\.cache\.folder={folder}") as caught:
        cache_folder(OptimizeConfig(cache=CacheConfig(folder=folder)))
    assert "optimize.cache.folder=null" in caught.value.remedy
    with pytest.raises(RequestError, match=f"output={folder}") as caught:
        given_output(ExportConfig(output=folder))
    assert (caught.value.field, caught.value.remedy) == ("output", "choose another folder")


def test_folders_are_looked_at_and_left_alone(tmp_path):
    for folder in (tmp_path, tmp_path / "new" / "deep"):
        assert cache_folder(OptimizeConfig(cache=CacheConfig(folder=str(folder)))) == folder
        assert given_output(ExportConfig(output=str(folder))) == folder
    assert list(tmp_path.iterdir()) == []
    assert given_output(ExportConfig()) is None


UNCACHED = OptimizeConfig(cache=CacheConfig(folder=None))


@pytest.mark.parametrize("output", ["", " "])
def test_output_of_an_empty_name_is_not_taken_for_the_default(output):
    with pytest.raises(RequestError, match="output is empty") as caught:
        given_output(ExportConfig(output=output))
    assert "output=null" in caught.value.remedy


@pytest.mark.parametrize("cache", ["b", "b/cache"])
def test_output_is_refused_when_the_cache_would_fill_it(cache, tmp_path):
    settings = OptimizeConfig(cache=CacheConfig(folder=str(tmp_path / cache)))
    with pytest.raises(RequestError, match=r"holds the cache, optimize\.cache\.folder="):
        given_output(ExportConfig(output=str(tmp_path / "b"), optimize=settings))
    beside = ExportConfig(output=str(tmp_path / "b" / "c"), optimize=settings)
    assert given_output(beside) == tmp_path / "b" / "c"


@pytest.mark.parametrize(
    ("max_length", "message"), [(None, "takes no texts"), (64, "takes no more than 64 tokens")]
)
def test_length_of_timed_texts_is_refused_when_the_model_cannot_take_it(max_length, message):
    settings = OptimizeConfig(benchmark=BenchmarkConfig(length=65))
    with pytest.raises(RequestError, match=message) as caught:
        check_length(settings, max_length)
    assert caught.value.field == "optimize.benchmark.length"
    check_length(settings, 65)
    check_length(OptimizeConfig(), max_length)
    check_length(OptimizeConfig(benchmark=BenchmarkConfig(enabled=False, length=65)), max_length)


def test_output_is_refused_when_it_has_no_name():
    for target in (Target.cpu, Target.none):
        with pytest.raises(RequestError, match="output=/ cannot be a bundle") as caught:
            given_output(ExportConfig(output="/", target=target, optimize=UNCACHED))
        assert caught.value.field == "output"


def test_output_is_refused_when_its_report_cannot_be_written(tmp_path):
    (tmp_path / f"b{REPORT}").touch()
    with pytest.raises(RequestError, match="Not a directory"):
        given_output(ExportConfig(output=str(tmp_path / "b")))
    given_output(ExportConfig(output=str(tmp_path / "b"), target=Target.none))


@pytest.mark.parametrize(("given", "name"), [(None, None), (False, None), (True, ""), ("a", "a")])
def test_version_is_registered_under_the_name_asked_for(given, name):
    assert registered_name(ExportConfig(register=given)) == name


@pytest.mark.parametrize("overwrite", [False, True])
def test_output_is_refused_when_it_is_a_file_whatever_is_asked(overwrite, tmp_path):
    (tmp_path / "file").touch()
    config = ExportConfig(output=str(tmp_path / "file"), overwrite=overwrite)
    with pytest.raises(RequestError, match="is not a folder") as caught:
        free_output(config, "digits", checkpoint_sha256="0" * 64)
    assert caught.value.remedy == "choose another folder"


def test_output_may_hold_a_bundle_of_the_same_checkpoint_and_no_other(tmp_path):
    image_parts(checkpoint={"sha256": "0" * 64}).write(tmp_path / "b")
    config = ExportConfig(output=str(tmp_path / "b"))
    assert free_output(config, "digits", checkpoint_sha256="0" * 64) == tmp_path / "b"
    for name, sha256 in (("digits", "1" * 64), ("other", "0" * 64)):
        with pytest.raises(RequestError, match="exists already"):
            free_output(config, name, checkpoint_sha256=sha256)


def test_output_is_named_for_the_model_and_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = free_output(ExportConfig(), "digits", checkpoint_sha256="0123456789")
    assert output.as_posix() == "outputs/bundles/digits-01234567"
