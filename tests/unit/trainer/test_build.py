from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from torch import nn

from trainer.build import build_data, build_optimizer, plain, rebuild_model, run_name
from trainer.errors import ConfigError


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "trainer.modelsX.Evil"},
        {"_target_": "trainer.models.mlp.MLP", "hidden": {"_target_": "os.system"}},
    ],
)
def test_building_refuses_when_the_target_is_not_ours(node):
    with pytest.raises(ConfigError, match="refused"):
        rebuild_model(node)


def test_building_refuses_when_optimiser_or_data_are_not_ours(config):
    with pytest.raises(ConfigError, match=r"optim\._target_"):
        build_optimizer(config("optim._target_=builtins.print"), nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"data\._target_"):
        build_data(config("data._target_=builtins.print"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["model=resnet18", "data=bbc_news"],
            "resnet18 reads images, but data=bbc_news gives texts",
        ),
        (["model=bert_tiny", "data=mnist"], "bert_tiny reads texts, but data=mnist gives images"),
    ],
)
def test_building_refuses_when_model_and_data_do_not_fit(overrides, words):
    from trainer.compose import compose
    from trainer.schema import register_schemas

    with pytest.raises(ConfigError, match=words) as caught:
        build_data(compose("train", overrides, schemas=register_schemas))
    assert "model=" in caught.value.remedy


def test_building_names_the_part_when_arguments_do_not_fit():
    with pytest.raises(ConfigError, match="model: cannot be built"):
        rebuild_model({"_target_": "trainer.models.mlp.MLP", "colour": "red"})


def test_plain_holds_nothing_but_json(config):
    values = plain(config())
    assert values == OmegaConf.to_container(OmegaConf.create(values))
    assert values["precision"] == {"name": "fp32"}
    assert type(values["precision"]["name"]) is str


def test_name_is_data_and_model_unless_it_is_given(config):
    assert run_name(config()) == "digits-mlp"
    assert run_name(config("name=mine")) == "mine"
