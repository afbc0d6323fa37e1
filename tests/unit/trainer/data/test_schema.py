from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from trainer.data import catalog, schema
from trainer.data.module import DataModule
from trainer.data.schema import DATA_SCHEMAS

FOLDER = Path(__file__).parents[4] / "conf" / "data"
NAMES = sorted(path.stem for path in FOLDER.rglob("*.yaml"))


@pytest.fixture(autouse=True)
def config_folder():
    for name, node in DATA_SCHEMAS.items():
        ConfigStore.instance().store(group="data", name=name, node=node)
    with initialize_config_dir(str(FOLDER.parent), version_base="1.3"):
        yield


def data(name, *overrides):
    return compose(overrides=[f"+data={name}", *overrides]).data


def arguments(cfg):
    """The config without what the search for a batch size reads."""
    node = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True, enum_to_str=True)
    del node["max_batch_size"]
    return node


def test_every_schema_has_a_yaml_and_every_yaml_a_schema():
    assert {f"base_{name}" for name in NAMES} == set(DATA_SCHEMAS)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_builds_a_data_module(name):
    needs_root = name in {"hf", "image_folder", "text_table"}
    cfg = data(name, *(["data.root=somewhere"] if needs_root else []))
    module = instantiate(
        arguments(cfg), seed=3, assets_dir=None, tokenizer_file=None, _convert_="all"
    )

    assert isinstance(module, DataModule)


def test_hf_builds_a_module_of_its_kind():
    for kind in ("image", "text"):
        node = arguments(data("hf", "data.root=x", f"data.kind={kind}"))
        module = instantiate(node)
        assert module.task == f"{kind}-classification"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.batchsize=3", "batchsize"),
        ("data.resize=squash", "resize"),
        ("data.augmentation.spin=3", "spin"),
        ("data.augmentation.shift=0.5", "shift"),
        ("data.limit=all", "limit"),
        ("data.balance=yes", "balance"),
    ],
)
def test_composing_fails_and_names_the_field_when_it_is_wrong(override, named):
    with pytest.raises(ConfigCompositionException) as error:
        data("mnist", override)
    assert named in f"{error.value} {error.value.__cause__}"


def test_every_field_says_what_it_is():
    for name, kind in inspect.getmembers(schema, dataclasses.is_dataclass):
        lines = [line.strip() for line in inspect.getsource(kind).splitlines()]
        inherited = {field for base in kind.__mro__[1:-1] for field in base.__annotations__}
        for field in set(kind.__annotations__) - inherited - {"_target_"}:
            place = next(n for n, line in enumerate(lines) if line.startswith(f"{field}:"))
            assert lines[place + 1].startswith('"""'), f"{name}.{field}"


def test_every_target_is_a_function_of_the_catalog():
    for kind in DATA_SCHEMAS.values():
        module, _, function = kind._target_.rpartition(".")
        assert module == catalog.__name__
        assert callable(getattr(catalog, function))
