"""The config with nothing left open."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainer.errors import ConfigError


def plain(node: Any) -> dict[str, Any]:
    """A config node as nested plain containers: interpolations resolved, enums as their names."""
    value = OmegaConf.to_container(node, resolve=True, throw_on_missing=True, enum_to_str=True)
    if not isinstance(value, dict):
        raise ConfigError(f"expected fields, got {value!r}")
    return {str(key): item for key, item in value.items()}


def settle(cfg: DictConfig) -> DictConfig:
    """Plain values only, and a name: what config.yaml holds, and every process reads."""
    settled = OmegaConf.create(plain(cfg))
    settled.name = cfg.name or f"{data_name(cfg)}-{cfg.model.name}"
    return settled


def data_name(cfg: DictConfig) -> str:
    """The data set's short name, such as mnist or bbc_news."""
    return str(cfg.data._target_).rpartition(".")[2]
