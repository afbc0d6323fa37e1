from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from optimize.schema import register_schemas as register_export
from trainer.compose import CONF, compose, hydra_command
from trainer.errors import ConfigError, Stopped
from trainer.schema import register_schemas

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted(CONF.rglob("*.yaml"))
OWN_GROUPS = {"optimize": "export"}
"""Groups of another command than train.py."""


def _register() -> None:
    register_schemas()
    register_export()


def _command(path: Path) -> tuple[str, list[str]]:
    """The config to compose, and the override that brings the file in."""
    if path.parent == CONF:
        return path.stem, []
    group = path.parent.relative_to(CONF).as_posix()
    parent = ["sweep=optuna"] if group.startswith("sweep/") else []
    return OWN_GROUPS.get(group, "train"), [*parent, f"{group}={path.stem}"]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CONF)) for path in FILES])
def test_every_yaml_composes_and_resolves(path):
    name, overrides = _command(path)
    cfg = compose(name, overrides, schemas=_register)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CONF)) for path in FILES])
def test_every_yaml_is_checked_against_a_dataclass(path):
    name, overrides = _command(path)
    if path.parent.name in {"experiment", "debug"} or "hydra" in path.relative_to(CONF).parts:
        return
    cfg = compose(name, overrides, schemas=_register)
    where = ".".join(path.parent.relative_to(CONF).parts)
    node = OmegaConf.select(cfg, where) if where else cfg
    assert OmegaConf.get_type(node) is not dict


def test_yaml_files_are_found():
    assert len(FILES) >= 30


@pytest.mark.parametrize(
    ("override", "field", "words"),
    [
        ("trainer.devics=2", "trainer.devics", "did you mean trainer.devices?"),
        ("modle=bert", "modle", "did you mean model?"),
        ("model=resnet99", "model", "resnet18, resnet50, resnet_tiny"),
        ("trainer.max_epochs=many", "trainer.max_epochs", "many"),
        ("trainer.accelerator=tpu", "trainer.accelerator", "auto, cpu, gpu"),
        ("optim.betas=[a,b]", "optim.betas[0]", "'a'"),
        ("precision=fp8", "precision", "bf16, fp16, fp32"),
        ("data=nowhere", "data", "mnist"),
        ("seed=one", "seed", "one"),
        ("model.hidden=[3]", "model.hidden", "widths"),
        ("strategy.name=pipeline", "strategy.name", "ddp"),
    ],
)
def test_composing_names_field_and_remedy_when_an_override_is_wrong(override, field, words):
    with pytest.raises(ConfigError) as caught:
        compose("train", [override], schemas=register_schemas)
    message = f"{caught.value}; {caught.value.remedy}"
    assert caught.value.field == field
    assert field.split("[")[0] in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("override", ["seed=[1", "~experiment=3", "experiment=null", "=", "a b"])
def test_composing_refuses_in_one_line_when_an_override_is_malformed(override):
    with pytest.raises(ConfigError) as caught:
        compose("train", [override], schemas=register_schemas)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["my run (old)/b", "a  (b)", "ä b!"])
def test_composing_says_how_to_quote_a_value_that_cannot_be_read(value):
    with pytest.raises(ConfigError) as caught:
        compose("export", [f"output={value}"], schemas=register_export)
    assert str(caught.value) == f"output={value} cannot be read"
    assert caught.value.remedy == f"quote the value: 'output=\"{value}\"'"
    assert compose("export", [f'output="{value}"'], schemas=register_export).output == value


def test_model_brings_its_data_unless_the_user_names_other_ones():
    def data(*overrides: str) -> str:
        cfg = compose("train", list(overrides), schemas=register_schemas)
        return cfg.data._target_.rpartition(".")[2]

    assert data() == "mnist"
    assert data("model=bert") == "bbc_news"
    assert data("model=bert_tiny") == "bbc_news"
    assert data("model=bert", "data=reviews") == "reviews"
    assert data("data=reviews", "model=bert") == "reviews"
    assert data("experiment=bbc_minilm") == "bbc_news"
    assert data("experiment=bbc_minilm", "data=reviews") == "reviews"


def test_learning_rate_is_the_models_unless_it_is_set():
    def rate(*overrides: str) -> float:
        return compose("train", list(overrides), schemas=register_schemas).optim.lr

    assert rate() == 0.01
    assert rate("model=bert") == 1e-4
    assert rate("model=bert", "optim.lr=0.5") == 0.5
    assert rate("optim=sgd") == 0.1


def test_command_starts_no_other_job_when_one_is_stopped(tmp_path, monkeypatch):
    begun = []

    def stopping(cfg):
        begun.append(cfg.seed)
        raise Stopped("stopped by SIGTERM")

    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
    arguments = ["train.py", "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}", *quiet]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    GlobalHydra.instance().clear()
    with pytest.raises(Stopped):
        hydra_command("train", stopping, schemas=register_schemas)()
    assert begun == [1]


def test_command_names_the_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["train.py", f"hydra.run.dir={tmp_path}/file/run"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    GlobalHydra.instance().clear()
    with pytest.raises(ConfigError, match="cannot be made or written") as caught:
        hydra_command("train", lambda _: None, schemas=register_schemas)()
    assert caught.value.field == "hydra.run.dir"
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize(
    ("config", "added", "field", "remedy"),
    [
        ("train", "+nonsense=1", "nonsense", "known: "),
        ("train", "+trainer.max_epoch=1", "trainer.max_epoch", "trainer.max_epochs"),
        ("export", "+optimize.gate.bugdet=0.5", "optimize.gate.bugdet", "optimize.gate.budget"),
    ],
)
def test_a_field_that_nothing_reads_cannot_be_added_either(config, added, field, remedy):
    with pytest.raises(ConfigError, match="there is no such field") as caught:
        compose(config, [added], schemas=_register)
    assert caught.value.field == field
    assert remedy in caught.value.remedy


def test_a_constructor_may_be_given_more_than_the_schema_names():
    assert compose("train", ["+optim.amsgrad=true"], schemas=_register).optim.amsgrad is True
