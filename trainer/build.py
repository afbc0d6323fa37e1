"""From config nodes to objects: every `instantiate` of the trainer is in this file.

A config can come out of a checkpoint, which nobody vouches for, so `_target_` may name only what
is listed in `TARGETS`: a class of ours, or an optimiser of torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from bundle.errors import TrainyardError
from bundle.preprocessing.config import ImageConfig, TextConfig
from bundle.preprocessing.text import TextPreprocessor
from trainer.errors import ConfigError
from trainer.memory import is_out_of_memory
from trainer.models.pretrained import locate
from trainer.optimizers import keep_settings, parameter_groups, step_options
from trainer.schema import PrecisionName

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.optim import Optimizer

    from bundle.preprocessing.preprocessor import DataPreprocessor
    from trainer.data.module import DataModule

TARGETS = {
    "data": "trainer.data.",
    "model": "trainer.models.",
    "optim": "torch.optim.",
}
"""Which part of the config may build what."""
_NOT_ARGUMENTS = {
    "data": ("max_batch_size",),
    "model": ("name", "modality", "lr"),
    "optim": ("schedule", "warmup", "floor"),
}
"""Fields that the trainer reads itself."""


def plain(node: Any) -> dict[str, Any]:
    """A config node as nested plain containers: interpolations resolved, enums as their names."""
    value = OmegaConf.to_container(node, resolve=True, throw_on_missing=True, enum_to_str=True)
    if not isinstance(value, dict):
        raise ConfigError(f"expected fields, got {value!r}")
    return {str(key): item for key, item in value.items()}


def build_model(cfg: DictConfig, *, num_classes: int, preprocessor: DataPreprocessor) -> nn.Module:
    """The model that `cfg.model` describes, for these classes and inputs.

    A constructor is given what it asks for by name: `num_classes`; `channels`, `height`, `width`
    of images; `vocabulary_size`, `pad_id`, `max_length` of texts.
    """
    _check_modality(cfg, preprocessor.config.kind)
    facts = {"num_classes": num_classes, **_input_facts(preprocessor)}
    return _model(plain(cfg.model), facts)


def rebuild_model(architecture: Mapping[str, Any]) -> nn.Module:
    """The model that `describe_model` described, with fresh weights."""
    return _model(architecture, {})


def describe_model(model: nn.Module) -> dict[str, Any]:
    """What `rebuild_model` needs; plain containers, and independent of pretrained weights."""
    kind = type(model)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **model.architecture}  # type: ignore[dict-item]


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """The optimiser that `cfg.optim` describes; norms and biases get no weight decay."""
    node = plain(cfg.optim)
    for name in _NOT_ARGUMENTS["optim"]:
        node.pop(name)
    groups = parameter_groups(model, weight_decay=node.pop("weight_decay"))
    _check_target("optim", node)
    mixed = cfg.precision.name != PrecisionName.fp32
    options = step_options(get_class(str(node["_target_"])), groups, mixed=mixed)
    optimizer: Optimizer = _instantiate("optim", {**options, **node}, params=groups)
    keep_settings(optimizer)
    return optimizer


def build_data(
    cfg: DictConfig, *, assets_dir: Path | None = None, tokenizer_file: Path | None = None
) -> DataModule:
    """The data module that `cfg.data` describes, not yet set up.

    Texts are cut by `tokenizer_file`, else by the tokenizer of the pretrained model, else by one
    learned from them, which is written to `assets_dir`. Raises ConfigError if the model reads
    another kind of sample than the data give.
    """
    node = {k: v for k, v in plain(cfg.data).items() if k not in _NOT_ARGUMENTS["data"]}
    pretrained = cfg.model.get("pretrained")
    if tokenizer_file is None and pretrained and plain(cfg.model)["modality"] == "text":
        tokenizer_file = locate(pretrained) / "tokenizer.json"
    module: DataModule = _instantiate(
        "data",
        node,
        seed=int(cfg.seed),
        assets_dir=assets_dir,
        tokenizer_file=tokenizer_file,
    )
    _check_modality(cfg, module.task.partition("-")[0])
    return module


def data_name(cfg: DictConfig) -> str:
    """The data set's short name, such as mnist or bbc_news."""
    return str(cfg.data._target_).rpartition(".")[2]


def run_name(cfg: DictConfig) -> str:
    """`cfg.name`, else `<data>-<model>`."""
    return cfg.name or f"{data_name(cfg)}-{cfg.model.name}"


_OTHER_MODELS = {
    "image": "an image model, such as model=resnet_tiny",
    "text": "a text model, such as model=bert",
}


def _check_modality(cfg: DictConfig, given: str) -> None:
    wanted = plain(cfg.model)["modality"]
    if wanted != given:
        raise ConfigError(
            f"model={cfg.model.name} reads {wanted}s, but data={data_name(cfg)} gives {given}s",
            field="model",
            remedy=f"choose {_OTHER_MODELS[given]}, or other data",
        )


def _model(node: Mapping[str, Any], facts: Mapping[str, Any]) -> nn.Module:
    _check_target("model", node)
    arguments = {k: v for k, v in node.items() if k not in _NOT_ARGUMENTS["model"]}
    accepted = inspect.signature(get_class(str(node["_target_"]))).parameters
    arguments |= {name: value for name, value in facts.items() if name in accepted}
    model: nn.Module = _instantiate("model", arguments, _recursive_=False)
    return model


def _instantiate(part: str, node: Mapping[str, Any], **arguments: Any) -> Any:
    """Hydra's, but what a constructor of ours raises comes out as it is."""
    _check_target(part, node)
    try:
        return instantiate(node, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if cause is not None and (isinstance(cause, TrainyardError) or is_out_of_memory(cause)):
            raise cause from error
        text = " ".join(str(error).split())
        raise ConfigError(f"{part}: cannot be built ({text})", field=part) from error


def _input_facts(preprocessor: DataPreprocessor) -> dict[str, Any]:
    config = preprocessor.config
    if isinstance(config, ImageConfig):
        return {"channels": config.channels, "height": config.height, "width": config.width}
    if isinstance(config, TextConfig) and isinstance(preprocessor, TextPreprocessor):
        return {
            "vocabulary_size": preprocessor.vocabulary_size,
            "pad_id": preprocessor.pad_id,
            "max_length": config.max_length,
        }
    raise ConfigError(f"no model reads samples of the kind {config.kind!r}")


def _check_target(part: str, node: Mapping[str, Any]) -> None:
    """Refuse a target, here or nested, that is not ours to build."""
    target = node.get("_target_")
    if target is not None and not str(target).startswith(TARGETS[part]):
        raise ConfigError(
            f"{part}._target_={target}: refused, only {TARGETS[part]}* may be built here",
            field=f"{part}._target_",
        )
    for value in node.values():
        if isinstance(value, Mapping):
            _check_target(part, value)
